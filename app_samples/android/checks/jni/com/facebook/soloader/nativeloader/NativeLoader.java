package com.facebook.soloader.nativeloader;

/** Stands in for SoLoader's class of this name: gives ExecuTorch's classes the double's library. */
public final class NativeLoader {
  private NativeLoader() {}

  public static boolean isInitialized() {
    return true;
  }

  public static void init(NativeLoaderDelegate delegate) {}

  public static boolean loadLibrary(String name) {
    System.loadLibrary(name + "_jvm");
    return true;
  }
}
