import Accelerate
import CoreGraphics
import Foundation
import ImageIO
import MNV2Core

/// The contract's first step: the bytes that are stored in a file, upright.
///
/// Colors are taken as they are stored, without a conversion from the file's profile, as the
/// model's training and calibration pictures were. So pixels are asked for in the picture's own
/// color space; only what is neither gray nor RGB (CMYK, Lab) is converted, to sRGB. Opacity is
/// dropped and not blended, which is why vImage decodes here and no bitmap context draws: that
/// would premultiply.
/// PNGs come out byte for byte as in Python; JPEG decoders may differ from each other by a level.
enum PhotoDecoder {
    static func photo(from data: Data) throws -> PixelImage {
        guard let source = CGImageSourceCreateWithData(data as CFData, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil),
            CGImageSourceGetStatusAtIndex(source, 0) == .statusComplete  // cut off in the middle
        else { throw Problem.notAnImage }
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        let stored = properties?[kCGImagePropertyOrientation] as? Int
        let orientation = stored.flatMap { Orientation(rawValue: $0) } ?? .up
        return try pixels(of: image).upright(from: orientation)
    }

    private static func pixels(of image: CGImage) throws -> PixelImage {
        let space = colorSpace(of: image)
        let isGray = space.model == .monochrome
        let isWide = image.bitsPerComponent > 8
        let bits = isWide ? 16 : 8
        let alpha: CGImageAlphaInfo = isGray ? .none : .last
        let order: CGBitmapInfo = isWide ? .byteOrder16Little : []
        guard
            let format = vImage_CGImageFormat(
                bitsPerComponent: bits, bitsPerPixel: isGray ? bits : 4 * bits, colorSpace: space,
                bitmapInfo: CGBitmapInfo(rawValue: alpha.rawValue | order.rawValue))
        else { throw Problem.notAnImage }
        do {
            let buffer = try vImage_Buffer(cgImage: image, format: format)
            defer { buffer.free() }
            let decoded = UnsafeRawBufferPointer(
                start: buffer.data, count: buffer.rowBytes * Int(buffer.height))
            let layout = DecodedLayout(
                isGray: isGray, isWide: isWide, bytesPerRow: buffer.rowBytes)
            return PixelImage(
                width: Int(buffer.width), height: Int(buffer.height), decoded: decoded,
                layout: layout)
        } catch {
            throw Problem.notAnImage
        }
    }

    /// The picture's own where it is gray or RGB; of a palette, that of its colors.
    private static func colorSpace(of image: CGImage) -> CGColorSpace {
        var own = image.colorSpace
        if let space = own, space.model == .indexed { own = space.baseColorSpace }
        if let own, own.model == .rgb || own.model == .monochrome { return own }
        return CGColorSpace(name: CGColorSpace.sRGB) ?? CGColorSpaceCreateDeviceRGB()
    }
}

extension CGImage {
    /// Of opaque RGB pixels, or of those with opacity (not premultiplied).
    static func make(width: Int, height: Int, bytes: [UInt8], hasOpacity: Bool) -> CGImage? {
        guard let provider = CGDataProvider(data: Data(bytes) as CFData) else { return nil }
        let samples = hasOpacity ? 4 : 3
        let alpha: CGImageAlphaInfo = hasOpacity ? .last : .none
        return CGImage(
            width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 8 * samples,
            bytesPerRow: width * samples,
            space: CGColorSpace(name: CGColorSpace.sRGB) ?? CGColorSpaceCreateDeviceRGB(),
            bitmapInfo: CGBitmapInfo(rawValue: alpha.rawValue), provider: provider, decode: nil,
            shouldInterpolate: false, intent: .defaultIntent)
    }
}
