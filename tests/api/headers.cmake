# Every header compiles alone as C11, gen.h also as C++ (where a C++ compiler is found).
#   cmake -DCC=cc -DSOURCE=top-folder -DINCLUDES=a;b -P headers.cmake
file(GLOB_RECURSE headers RELATIVE "${SOURCE}" "${SOURCE}/gen/*.h" "${SOURCE}/unet/*.h"
     "${SOURCE}/dit/*.h" "${SOURCE}/vae/*.h" "${SOURCE}/samplers/*.h" "${SOURCE}/tests/*.h")
list(LENGTH headers count)
if(count LESS 20)
  message(FATAL_ERROR "only ${count} headers below ${SOURCE}")
endif()
set(options "-I${SOURCE}")
foreach(folder ${INCLUDES})
  list(APPEND options -isystem "${folder}")
endforeach()

set(failed 0)
function(compile header compiler)
  execute_process(COMMAND ${compiler} ${ARGN} -Wall -Wextra -Werror -fsyntax-only ${options}
                          "${SOURCE}/${header}"
                  RESULT_VARIABLE status ERROR_VARIABLE output)
  if(status)
    message(NOTICE "${header} does not compile alone:\n${output}")
    set(failed 1 PARENT_SCOPE)
  endif()
endfunction()

foreach(header ${headers})
  compile(${header} ${CC} -x c -std=c11 -D_GNU_SOURCE)
endforeach()
# The public header needs no extension.
compile(gen/gen.h ${CC} -x c -std=c11 -pedantic)
find_program(CXX NAMES c++ g++ clang++)
if(CXX)
  compile(gen/gen.h ${CXX} -x c++ -std=c++11 -pedantic)
else()
  message(NOTICE "no C++ compiler: gen.h was not tried as C++")
endif()
if(failed)
  message(FATAL_ERROR "headers must stand alone")
endif()
