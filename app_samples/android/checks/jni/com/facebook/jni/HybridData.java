package com.facebook.jni;

/** Stands in for fbjni's class of this name: the handle of a native object. */
public final class HybridData {
  private long handle;

  private HybridData(long handle) {
    this.handle = handle;
  }

  public boolean isValid() {
    return handle != 0;
  }

  public void resetNative() {
    free(handle);
    handle = 0;
  }

  private static native void free(long handle);
}
