package com.facebook.soloader.nativeloader;

/** Stands in for SoLoader's interface of this name; the double has one way to load libraries. */
public interface NativeLoaderDelegate {}
