#include "files.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>

namespace fs = std::filesystem;

namespace mnv2 {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 31;
constexpr std::size_t kChunk = std::size_t{1} << 20;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

}  // namespace

Bytes read_file(const std::string& path, ExitCode code) {
  if (is_directory(path)) throw Failure(code, path + ": a directory, not a file");
  errno = 0;
  File file(std::fopen(path.c_str(), "rb"));
  if (!file) throw Failure(code, path + ": " + system_reason());
  Bytes bytes;
  for (std::size_t got = kChunk; got == kChunk;) {
    const std::size_t before = bytes.size();
    if (before > kMostBytes) throw Failure(code, path + ": more than 2 GiB");
    bytes.resize(before + kChunk);
    got = std::fread(bytes.data() + before, 1, kChunk, file.get());
    bytes.resize(before + got);
  }
  if (std::ferror(file.get())) throw Failure(code, path + ": " + system_reason());
  return bytes;
}

void write_file(const std::string& path, const void* data, std::size_t size) {
  errno = 0;
  File file(std::fopen(path.c_str(), "wb"));
  if (!file) throw Failure(ExitCode::kOutput, path + ": " + system_reason());
  const bool written = std::fwrite(data, 1, size, file.get()) == size;
  if (!written || std::fflush(file.get()) != 0) {
    throw Failure(ExitCode::kOutput, path + ": cannot be written: " + system_reason());
  }
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

void make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!is_directory(path)) {
    throw Failure(ExitCode::kOutput, path + ": cannot be created: " + error.message());
  }
}

std::vector<std::string> file_names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (is_file(at->path().string())) names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string file_name(const std::string& path) { return fs::path(path).filename().string(); }

std::string stem(const std::string& path) { return fs::path(path).stem().string(); }

std::string extension(const std::string& path) {
  std::string text = fs::path(path).extension().string();
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char letter) {
    return static_cast<char>(std::tolower(letter));
  });
  return text;
}

std::string join(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

std::string program_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return error ? std::string() : program.parent_path().string();
}

}  // namespace mnv2
