# 64-bit ARM Linux with Debian's cross compiler (package g++-aarch64-linux-gnu).
# MNV2_SYSROOT: a folder with the ARM packages libpng-dev, libjpeg62-turbo-dev and zlib1g-dev, and
# nlohmann-json3-dev, unpacked in it. Their static libraries are linked.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MNV2_SYSROOT)
set(CMAKE_FIND_ROOT_PATH "${MNV2_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
# Where Debian keeps libjpeg's jconfig.h, which FindJPEG does not ask for.
set(CMAKE_CXX_FLAGS_INIT "-isystem ${MNV2_SYSROOT}/usr/include/aarch64-linux-gnu")
