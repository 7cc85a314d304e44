package com.facebook.soloader.nativeloader;

/** Stands in for SoLoader's class of this name. */
public final class SystemDelegate implements NativeLoaderDelegate {}
