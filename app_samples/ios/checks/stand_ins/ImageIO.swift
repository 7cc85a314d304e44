// Stand-in; see CoreGraphics.swift.
@_exported import CoreGraphics

public final class CGImageSource {}
public enum CGImageSourceStatus { case statusComplete, statusIncomplete }

public var kCGImagePropertyOrientation: CFString { fatalError() }
public func CGImageSourceCreateWithData(
    _ data: CFData, _ options: CFDictionary?
) -> CGImageSource? { fatalError() }
public func CGImageSourceCreateImageAtIndex(
    _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CGImage? { fatalError() }
public func CGImageSourceCopyPropertiesAtIndex(
    _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> NSDictionary? { fatalError() }
public func CGImageSourceGetStatusAtIndex(_ source: CGImageSource, _ index: Int)
    -> CGImageSourceStatus
{ fatalError() }
