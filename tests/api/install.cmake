# Installs the build into an empty folder, builds the client there with pkg-config and with
# find_package(gen), and makes a picture with each.
#   cmake -DBUILD=dir -DSOURCE=top-folder -DPREFIX=empty-dir -DLIBDIR=lib -DCC=cc -DFLAGS=a;b
#         -DMODEL=dir -P install.cmake
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output
                                  ERROR_VARIABLE output)
  if(status)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nfailed (${status}):\n${output}")
  endif()
endfunction()

# Runs the client at `program` and looks at the picture: 48 x 32 or more pixels in a PNG file.
function(make_picture program picture)
  run("${program}" "${MODEL}" "${picture}")
  file(SIZE "${picture}" size)
  file(READ "${picture}" magic LIMIT 8 HEX)
  if(size LESS 200 OR NOT magic STREQUAL "89504e470d0a1a0a")
    message(FATAL_ERROR "${picture}: ${size} bytes, not a picture")
  endif()
endfunction()

file(REMOVE_RECURSE "${PREFIX}")
run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${PREFIX}/usr")

# What a package holds, and nothing else in the include folder.
file(GLOB_RECURSE installed_headers RELATIVE "${PREFIX}/usr" "${PREFIX}/usr/include/*")
if(NOT installed_headers STREQUAL "include/gen.h")
  message(FATAL_ERROR "installed headers: ${installed_headers}, expected include/gen.h alone")
endif()
foreach(file bin/gen ${LIBDIR}/libgen.so ${LIBDIR}/pkgconfig/gen.pc
             ${LIBDIR}/cmake/gen/gen-config.cmake)
  if(NOT EXISTS "${PREFIX}/usr/${file}")
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()
run("${PREFIX}/usr/bin/gen" --version)

# pkg-config
set(ENV{PKG_CONFIG_PATH} "${PREFIX}/usr/${LIBDIR}/pkgconfig")
execute_process(COMMAND pkg-config --define-variable=prefix=${PREFIX}/usr --cflags --libs gen
                OUTPUT_VARIABLE flags RESULT_VARIABLE status OUTPUT_STRIP_TRAILING_WHITESPACE)
if(status)
  message(FATAL_ERROR "pkg-config does not know gen")
endif()
separate_arguments(flags UNIX_COMMAND "${flags}")
run("${CC}" -std=c11 -Wall -Werror ${FLAGS} "${SOURCE}/tests/api/client/client.c"
    -o "${PREFIX}/client" ${flags} "-Wl,-rpath,${PREFIX}/usr/${LIBDIR}")
make_picture("${PREFIX}/client" "${PREFIX}/pkg-config.png")

# find_package
list(JOIN FLAGS " " c_flags)
run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/api/client" -B "${PREFIX}/build"
    "-DCMAKE_PREFIX_PATH=${PREFIX}/usr" "-DCMAKE_C_COMPILER=${CC}" "-DCMAKE_C_FLAGS=${c_flags}")
run("${CMAKE_COMMAND}" --build "${PREFIX}/build")
make_picture("${PREFIX}/build/client" "${PREFIX}/cmake.png")

# Both are the same program with the same seed.
file(SHA256 "${PREFIX}/pkg-config.png" first)
file(SHA256 "${PREFIX}/cmake.png" second)
if(NOT first STREQUAL second)
  message(FATAL_ERROR "the two clients made different pictures")
endif()
