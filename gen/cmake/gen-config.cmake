# find_package(gen) gives the target gen::gen.
include("${CMAKE_CURRENT_LIST_DIR}/gen-targets.cmake")
