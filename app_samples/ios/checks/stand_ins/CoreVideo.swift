// Stand-in; see CoreGraphics.swift.
@_exported import CoreGraphics

public typealias CVReturn = Int32
public typealias OSType = UInt32
public final class CVPixelBuffer {}

public struct CVPixelBufferLockFlags: OptionSet {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

public var kCVReturnSuccess: CVReturn { fatalError() }
public var kCVPixelFormatType_32BGRA: OSType { fatalError() }
public var kCVPixelBufferIOSurfacePropertiesKey: CFString { fatalError() }
public func CVPixelBufferCreate(
    _ allocator: Never?, _ width: Int, _ height: Int, _ format: OSType,
    _ attributes: CFDictionary?, _ made: UnsafeMutablePointer<CVPixelBuffer?>
) -> CVReturn { fatalError() }
public func CVPixelBufferLockBaseAddress(
    _ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags
) -> CVReturn { fatalError() }
@discardableResult
public func CVPixelBufferUnlockBaseAddress(
    _ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags
) -> CVReturn { fatalError() }
public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? {
    fatalError()
}
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { fatalError() }
public func CVPixelBufferGetHeight(_ buffer: CVPixelBuffer) -> Int { fatalError() }
