#include "runtime.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <executorch/devtools/etdump/etdump_flatcc.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include "failure.h"

// The package has this class's library and not its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t new_thread_count);
  size_t get_thread_count() const;
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace mnv2 {
namespace {

using executorch::aten::ScalarType;
using executorch::etdump::ETDumpGen;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;
using executorch::runtime::TensorInfo;

constexpr const char* kMethod = "forward";

const char* meaning(Error error) {
  switch (error) {
    case Error::NotSupported:
    case Error::NotImplemented:
      return "the program needs what this ExecuTorch lacks; use the version of manifest.json";
    case Error::OperatorMissing:
      return "an operator is not linked in; link kernels_optimized, or export for XNNPACK";
    case Error::NotFound:
      return "a backend is not linked in; export for XNNPACK with `-t android`";
    case Error::MemoryAllocationFailed:
    case Error::DelegateMemoryAllocationFailed:
      return "out of memory";
    case Error::AccessFailed:
      return "the file cannot be read; check that it exists";
    case Error::InvalidArgument:
    case Error::InvalidProgram:
      return "truncated, or no program of this ExecuTorch; copy it again or export it again";
    case Error::DelegateInvalidCompatibility:
      return "XNNPACK cannot read its part; use the ExecuTorch version of manifest.json";
    default:
      return "see runtime/core/error.h of ExecuTorch";
  }
}

void check(Error error, const std::string& what) {
  if (error == Error::Ok) return;
  char code[16];
  std::snprintf(code, sizeof code, "0x%02x", static_cast<unsigned>(error));
  throw Failure(ExitCode::kRuntime,
                what + ": ExecuTorch error " + code + ": " + meaning(error));
}

[[noreturn]] void differs(const std::string& path, const std::string& what) {
  throw Failure(ExitCode::kRuntime, path + ": its " + what + " is not the manifest's");
}

/// Whether a tensor of the program is (1, shape...).
bool is_batch_of_one(const TensorInfo& info, ScalarType type,
                     const std::vector<std::size_t>& shape) {
  const auto sizes = info.sizes();
  if (info.scalar_type() != type || sizes.size() != shape.size() + 1 || sizes[0] != 1) return false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (static_cast<std::size_t>(sizes[i + 1]) != shape[i]) return false;
  }
  return true;
}

ScalarType type_of(DType dtype) {
  return dtype == DType::kUint8 ? ScalarType::Byte : ScalarType::Float;
}

void check_interface(const MethodMeta& method, const Manifest& manifest, const std::string& path) {
  const auto side = static_cast<std::size_t>(manifest.preprocess.crop_size);
  const auto input = method.num_inputs() == 1 ? method.input_tensor_meta(0) : Error::NotFound;
  if (!input.ok() || !is_batch_of_one(*input, ScalarType::Float, {3, side, side})) {
    differs(path, "input");
  }
  const std::vector<OutputSpec>& outputs = manifest.artifact.outputs;
  if (method.num_outputs() != outputs.size()) differs(path, "number of outputs");
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto output = method.output_tensor_meta(i);
    if (!output.ok() || !is_batch_of_one(*output, type_of(outputs[i].dtype), outputs[i].shape)) {
      differs(path, "output '" + outputs[i].name + "'");
    }
  }
}

char fatal_message[256] = "an unknown reason";

void keep_fatal(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, std::size_t,
                const char* message, std::size_t) {
  if (level == kFatal) std::snprintf(fatal_message, sizeof fatal_message, "%s", message);
}

[[noreturn]] void leave() {
  std::fprintf(stderr, "mnv2_runner: ExecuTorch gave up: %s\n", fatal_message);
  std::_Exit(static_cast<int>(ExitCode::kRuntime));
}

template <typename Value>
std::vector<Value> copy_of(const executorch::aten::Tensor& tensor) {
  const auto* data = static_cast<const Value*>(tensor.const_data_ptr());
  return {data, data + tensor.numel()};
}

}  // namespace

struct Runtime::Loaded {
  std::string path;
  std::vector<OutputSpec> outputs;
  std::vector<executorch::aten::SizesType> input_sizes;
  ETDumpGen* tracer = nullptr;  // the module owns it
  std::unique_ptr<Module> module;

  std::vector<EValue> forward(std::vector<float>& input) {
    auto result = module->forward(executorch::extension::from_blob(input.data(), input_sizes));
    check(result.error(), path);
    return std::move(*result);
  }
};

const void* Tensor::data() const {
  return std::visit([](const auto& v) { return static_cast<const void*>(v.data()); }, values);
}

std::size_t Tensor::size_bytes() const {
  return std::visit([](const auto& v) { return v.size() * sizeof v[0]; }, values);
}

Runtime::Runtime(const std::string& path, const Manifest& manifest, bool traced)
    : loaded_(std::make_unique<Loaded>()) {
  loaded_->path = path;
  loaded_->outputs = manifest.artifact.outputs;
  const int side = manifest.preprocess.crop_size;
  loaded_->input_sizes = {1, 3, side, side};
  std::unique_ptr<ETDumpGen> tracer;
  if (traced) tracer = std::make_unique<ETDumpGen>();
  loaded_->tracer = tracer.get();
  loaded_->module = std::make_unique<Module>(path, Module::LoadMode::Mmap, std::move(tracer));
  check(loaded_->module->load(Program::Verification::InternalConsistency), path);
  const auto method = loaded_->module->method_meta(kMethod);
  check(method.error(), path);
  check_interface(*method, manifest, path);
  check(loaded_->module->load_method(kMethod), path);
}

Runtime::~Runtime() = default;
Runtime::Runtime(Runtime&&) noexcept = default;

std::vector<Tensor> Runtime::run(std::vector<float>& input) {
  const std::vector<EValue> values = loaded_->forward(input);
  std::vector<Tensor> results;
  for (std::size_t i = 0; i < loaded_->outputs.size(); ++i) {
    const OutputSpec& spec = loaded_->outputs[i];
    const auto& value = values.at(i).toTensor();
    if (static_cast<std::size_t>(value.numel()) != spec.count()) {
      differs(loaded_->path, "output '" + spec.name + "'");
    }
    Tensor result{spec.name, spec.shape, {}};
    if (spec.dtype == DType::kUint8) {
      result.values = copy_of<std::uint8_t>(value);
    } else {
      result.values = copy_of<float>(value);
    }
    results.push_back(std::move(result));
  }
  return results;
}

void Runtime::run_only(std::vector<float>& input) { loaded_->forward(input); }

std::vector<std::uint8_t> Runtime::profile() {
  const auto dump = loaded_->tracer->get_etdump_data();
  const std::unique_ptr<void, decltype(&std::free)> owner(dump.buf, std::free);
  const auto* data = static_cast<const std::uint8_t*>(dump.buf);
  if (data == nullptr) throw Failure(ExitCode::kRuntime, "ExecuTorch wrote no profile");
  return {data, data + dump.size};
}

void set_up_runtime() {
  executorch::runtime::runtime_init();
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(
      nullptr, leave, nullptr, nullptr, keep_fatal, nullptr, nullptr, __FILE__));
}

void set_threads(std::size_t count) {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (count > 0 && pool != nullptr) pool->_unsafe_reset_threadpool(static_cast<uint32_t>(count));
}

std::size_t thread_count() {
  const auto* pool = executorch::extension::threadpool::get_threadpool();
  return pool == nullptr ? 1 : pool->get_thread_count();
}

}  // namespace mnv2
