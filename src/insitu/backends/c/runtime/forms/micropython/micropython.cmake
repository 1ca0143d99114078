# SPDX-License-Identifier: Apache-2.0
# Of ports that are built by CMake: -DUSER_C_MODULES=/path/to/this/folder/micropython.cmake
set(@name@_sources
@source_lines@
)
list(TRANSFORM @name@_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
add_library(usermod_@name@ INTERFACE)
target_sources(usermod_@name@ INTERFACE ${CMAKE_CURRENT_LIST_DIR}/mod_@name@.c ${@name@_sources})
target_include_directories(usermod_@name@ INTERFACE ${CMAKE_CURRENT_LIST_DIR}/src)
target_compile_options(usermod_@name@ INTERFACE -ffp-contract=off)
target_link_libraries(usermod INTERFACE usermod_@name@)
