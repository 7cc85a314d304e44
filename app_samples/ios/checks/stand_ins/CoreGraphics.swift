// Stand-in: declarations that App/Sources uses, for type checks without Apple's frameworks.
// It says nothing of how the real ones behave, and is as right as Apple's documentation was read.
@_exported import Foundation

public typealias CFString = String
public typealias CFData = Data
public typealias CFDictionary = [CFString: Any]

public enum CGColorSpaceModel { case unknown, monochrome, rgb, cmyk, lab, indexed }
public enum CGColorRenderingIntent { case defaultIntent }
public enum CGImageAlphaInfo: UInt32 { case none, premultipliedLast, premultipliedFirst, last }

public struct CGBitmapInfo: OptionSet {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static var byteOrder16Little: CGBitmapInfo { fatalError() }
}

public final class CGColorSpace {
    public static var sRGB: CFString { fatalError() }
    public init?(name: CFString) { fatalError() }
    public var model: CGColorSpaceModel { fatalError() }
    public var baseColorSpace: CGColorSpace? { fatalError() }
}

public func CGColorSpaceCreateDeviceRGB() -> CGColorSpace { fatalError() }

public final class CGDataProvider {
    public init?(data: CFData) { fatalError() }
}

public final class CGImage {
    public init?(
        width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: CGBitmapInfo, provider: CGDataProvider,
        decode: UnsafePointer<Double>?, shouldInterpolate: Bool, intent: CGColorRenderingIntent
    ) { fatalError() }
    public var bitsPerComponent: Int { fatalError() }
    public var colorSpace: CGColorSpace? { fatalError() }
}
