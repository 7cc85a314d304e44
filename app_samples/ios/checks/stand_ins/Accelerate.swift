// Stand-in; see CoreGraphics.swift.
@_exported import CoreGraphics

public struct vImage_CGImageFormat {
    public init?(
        bitsPerComponent: Int, bitsPerPixel: Int, colorSpace: CGColorSpace,
        bitmapInfo: CGBitmapInfo, renderingIntent: CGColorRenderingIntent = .defaultIntent
    ) { fatalError() }
}

public struct vImage_Buffer {
    public init(cgImage: CGImage, format: vImage_CGImageFormat) throws { fatalError() }
    public var data: UnsafeMutableRawPointer! { fatalError() }
    public var width: UInt { fatalError() }
    public var height: UInt { fatalError() }
    public var rowBytes: Int { fatalError() }
    public func free() { fatalError() }
}
