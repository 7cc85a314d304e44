// The native methods of the real org.pytorch.executorch.Module, for a JVM on the host. In the app
// they are libexecutorch.so's (extension/android/jni of ExecuTorch, through fbjni); here they are
// these, plain JNI on the same C++ Module. What they take and give crosses as there: tensors as
// direct buffers, results copied into buffers of their own, errors as ExecuTorch's exceptions.
#include <jni.h>

#include <cstring>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::Error;
using executorch::runtime::EValue;

namespace {

constexpr const char* kPackage = "org/pytorch/executorch/";

jclass find(JNIEnv* env, const char* name) {
  return env->FindClass((std::string(kPackage) + name).c_str());
}

std::string text(JNIEnv* env, jstring value) {
  const char* chars = env->GetStringUTFChars(value, nullptr);
  std::string copy(chars);
  env->ReleaseStringUTFChars(value, chars);
  return copy;
}

void raise(JNIEnv* env, Error error, const std::string& message) {
  jclass type = find(env, "ExecutorchRuntimeException");
  jmethodID make = env->GetStaticMethodID(
      type, "makeExecutorchException", "(ILjava/lang/String;)Ljava/lang/RuntimeException;");
  jstring words = env->NewStringUTF(message.c_str());
  env->Throw(static_cast<jthrowable>(
      env->CallStaticObjectMethod(type, make, static_cast<jint>(error), words)));
}

Module* peer(JNIEnv* env, jobject module) {
  jfieldID hybrid = env->GetFieldID(
      env->GetObjectClass(module), "mHybridData", "Lcom/facebook/jni/HybridData;");
  jobject data = env->GetObjectField(module, hybrid);
  jfieldID handle = env->GetFieldID(env->GetObjectClass(data), "handle", "J");
  return reinterpret_cast<Module*>(env->GetLongField(data, handle));
}

jobjectArray strings(JNIEnv* env, const std::vector<std::string>& values) {
  jobjectArray array =
      env->NewObjectArray(values.size(), env->FindClass("java/lang/String"), nullptr);
  for (size_t i = 0; i < values.size(); i++) {
    env->SetObjectArrayElement(array, i, env->NewStringUTF(values[i].c_str()));
  }
  return array;
}

// Shares the memory of the Java tensor's direct buffer.
TensorPtr from_java(JNIEnv* env, jobject tensor) {
  jclass type = find(env, "Tensor");
  auto shape = static_cast<jlongArray>(
      env->GetObjectField(tensor, env->GetFieldID(type, "shape", "[J")));
  std::vector<jlong> lengths(env->GetArrayLength(shape));
  env->GetLongArrayRegion(shape, 0, lengths.size(), lengths.data());
  std::vector<executorch::aten::SizesType> sizes(lengths.begin(), lengths.end());
  jint dtype = env->CallIntMethod(tensor, env->GetMethodID(type, "dtypeJniCode", "()I"));
  jobject buffer = env->CallObjectMethod(
      tensor, env->GetMethodID(type, "getRawDataBuffer", "()Ljava/nio/Buffer;"));
  return executorch::extension::from_blob(
      env->GetDirectBufferAddress(buffer),
      std::move(sizes),
      static_cast<executorch::aten::ScalarType>(dtype));
}

jobject to_java(JNIEnv* env, const executorch::aten::Tensor& tensor) {
  jclass buffers = env->FindClass("java/nio/ByteBuffer");
  jobject buffer = env->CallStaticObjectMethod(
      buffers,
      env->GetStaticMethodID(buffers, "allocateDirect", "(I)Ljava/nio/ByteBuffer;"),
      static_cast<jint>(tensor.nbytes()));
  std::memcpy(env->GetDirectBufferAddress(buffer), tensor.const_data_ptr(), tensor.nbytes());
  jclass orders = env->FindClass("java/nio/ByteOrder");
  jobject native_order = env->CallStaticObjectMethod(
      orders, env->GetStaticMethodID(orders, "nativeOrder", "()Ljava/nio/ByteOrder;"));
  env->CallObjectMethod(
      buffer,
      env->GetMethodID(buffers, "order", "(Ljava/nio/ByteOrder;)Ljava/nio/ByteBuffer;"),
      native_order);
  std::vector<jlong> lengths(tensor.sizes().begin(), tensor.sizes().end());
  jlongArray shape = env->NewLongArray(lengths.size());
  env->SetLongArrayRegion(shape, 0, lengths.size(), lengths.data());
  jclass type = find(env, "Tensor");
  jmethodID make = env->GetStaticMethodID(
      type,
      "nativeNewTensor",
      "(Ljava/nio/ByteBuffer;[JILcom/facebook/jni/HybridData;)Lorg/pytorch/executorch/Tensor;");
  return env->CallStaticObjectMethod(
      type, make, buffer, shape, static_cast<jint>(tensor.scalar_type()), nullptr);
}

}  // namespace

extern "C" {

JNIEXPORT jobject JNICALL Java_org_pytorch_executorch_Module_initHybrid(
    JNIEnv* env, jclass, jstring path, jint mode, jint) {
  auto* module = new Module(
      text(env, path), mode == 0 ? Module::LoadMode::File : Module::LoadMode::Mmap);
  jclass type = env->FindClass("com/facebook/jni/HybridData");
  return env->NewObject(
      type, env->GetMethodID(type, "<init>", "(J)V"), reinterpret_cast<jlong>(module));
}

JNIEXPORT void JNICALL Java_com_facebook_jni_HybridData_free(JNIEnv*, jclass, jlong handle) {
  delete reinterpret_cast<Module*>(handle);
}

JNIEXPORT jobjectArray JNICALL
Java_org_pytorch_executorch_Module_getMethodsNative(JNIEnv* env, jobject self) {
  auto names = peer(env, self)->method_names();
  if (!names.ok()) {
    raise(env, names.error(), "the program cannot be read");
    return nullptr;
  }
  return strings(env, std::vector<std::string>(names->begin(), names->end()));
}

JNIEXPORT jobjectArray JNICALL
Java_org_pytorch_executorch_Module_getUsedBackends(JNIEnv* env, jobject, jstring) {
  return strings(env, {});
}

JNIEXPORT jint JNICALL Java_org_pytorch_executorch_Module_loadMethodNative(
    JNIEnv* env, jobject self, jstring name) {
  return static_cast<jint>(peer(env, self)->load_method(text(env, name)));
}

JNIEXPORT jobjectArray JNICALL Java_org_pytorch_executorch_Module_executeNative(
    JNIEnv* env, jobject self, jstring name, jobjectArray inputs) {
  jclass type = find(env, "EValue");
  jmethodID to_tensor =
      env->GetMethodID(type, "toTensor", "()Lorg/pytorch/executorch/Tensor;");
  std::vector<TensorPtr> tensors;
  std::vector<EValue> values;
  for (jsize i = 0; i < env->GetArrayLength(inputs); i++) {
    jobject input = env->GetObjectArrayElement(inputs, i);
    tensors.push_back(from_java(env, env->CallObjectMethod(input, to_tensor)));
    values.emplace_back(tensors.back());
  }
  auto results = peer(env, self)->execute(text(env, name), values);
  if (!results.ok()) {
    raise(env, results.error(), "Execution of method " + text(env, name) + " failed");
    return nullptr;
  }
  jmethodID from = env->GetStaticMethodID(
      type, "from", "(Lorg/pytorch/executorch/Tensor;)Lorg/pytorch/executorch/EValue;");
  jobjectArray array = env->NewObjectArray(results->size(), type, nullptr);
  for (size_t i = 0; i < results->size(); i++) {
    jobject value = env->CallStaticObjectMethod(type, from, to_java(env, results->at(i).toTensor()));
    env->SetObjectArrayElement(array, i, value);
  }
  return array;
}

}  // extern "C"
