# Defines mnv2_executorch: the runtime, CPU kernels, XNNPACK, thread pool and profiler of the
# ExecuTorch Python package, to link against from C++.
#
# The package is found where -Dexecutorch_DIR=<package>/share/cmake says, or -DPython3_EXECUTABLE,
# or the active virtual environment. When cross-compiling it has to be stated, since the package
# that Python can import holds libraries of this machine.

if(NOT executorch_DIR AND NOT CMAKE_CROSSCOMPILING)
  find_package(Python3 COMPONENTS Interpreter)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -c
              "import importlib.util as u; print(*u.find_spec('executorch').submodule_search_locations)"
      OUTPUT_VARIABLE executorch_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(executorch_package)
      set(executorch_DIR "${executorch_package}/share/cmake" CACHE PATH "ExecuTorch's CMake files")
    endif()
  endif()
endif()
find_package(executorch REQUIRED)

add_library(mnv2_executorch INTERFACE)
if(TARGET executorch::runtime) # CMake 3.28 and later
  target_link_libraries(mnv2_executorch INTERFACE
    executorch::runtime executorch::kernels_optimized executorch::backend_xnnpack
    executorch::threadpool executorch::etdump)
  target_include_directories(mnv2_executorch SYSTEM INTERFACE ${EXECUTORCH_INCLUDE_DIRS})
else() # before, the package states its contents as variables only
  set(libraries ${EXECUTORCH_LIBRARIES})
  list(FILTER libraries EXCLUDE REGEX "openvino|qnn") # backends of other hardware
  target_link_libraries(mnv2_executorch INTERFACE ${libraries})
  target_include_directories(mnv2_executorch SYSTEM INTERFACE ${EXECUTORCH_INCLUDE_DIRS})
  target_compile_definitions(mnv2_executorch INTERFACE ${EXECUTORCH_COMPILE_DEFINITIONS})
  target_link_options(mnv2_executorch INTERFACE "LINKER:-rpath,${EXECUTORCH_RUNTIME_LIBRARY_DIR}")
endif()
