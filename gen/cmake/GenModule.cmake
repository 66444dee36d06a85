# gen_module(name SOURCES a.c b.c DEPENDS other modules and imported targets)
# A folder of the library as one object target with the project's flags.  DEPENDS is what its
# sources may include and need at link time.
set(GEN_WARNINGS -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
                 -Wundef -Wvla -Wwrite-strings -Wno-missing-field-initializers)

function(gen_flags target)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE ${GEN_WARNINGS} -fno-math-errno -fno-trapping-math
                                           $<$<BOOL:${GEN_WERROR}>:-Werror>)
  if(GEN_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${GEN_SANITIZE} -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${GEN_SANITIZE})
  endif()
  if(GEN_BUILD_FUZZERS)    # coverage feedback for libFuzzer
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
    target_link_options(${target} PUBLIC -fsanitize=fuzzer-no-link)
  endif()
endfunction()

function(gen_module name)
  cmake_parse_arguments(M "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${M_SOURCES})
  gen_flags(${name})
  target_link_libraries(${name} PUBLIC ${M_DEPENDS})
endfunction()
