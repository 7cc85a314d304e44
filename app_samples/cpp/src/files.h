#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "failure.h"

namespace mnv2 {

using Bytes = std::vector<std::uint8_t>;

/// All of a file; a Failure with `code` where it cannot be read.
Bytes read_file(const std::string& path, ExitCode code);

/// Replaces a file; a Failure with ExitCode::kOutput where it cannot be written.
void write_file(const std::string& path, const void* data, std::size_t size);

bool is_file(const std::string& path);
bool is_directory(const std::string& path);
void make_directory(const std::string& path);

/// Of the files that lie in a folder itself, in order; none where it cannot be read.
std::vector<std::string> file_names(const std::string& folder);

/// "a/b.png" -> "b.png", "b" and ".png".
std::string file_name(const std::string& path);
std::string stem(const std::string& path);
std::string extension(const std::string& path);  // lower case

std::string join(const std::string& folder, const std::string& name);

/// The folder that this program lies in; empty where the system does not tell.
std::string program_folder();

}  // namespace mnv2
