/// A picture: 8-bit RGB, rows from the top, nothing between them.
public struct PixelImage: Sendable, Equatable {
    public static let channels = 3

    public let width: Int
    public let height: Int
    public let bytes: [UInt8]  // height * width * 3

    public init(width: Int, height: Int, bytes: [UInt8]) {
        precondition(width > 0 && height > 0, "a picture has pixels")
        precondition(bytes.count == width * height * Self.channels, "three bytes per pixel")
        self.width = width
        self.height = height
        self.bytes = bytes
    }

    /// The rectangle, which lies inside.
    public func cropped(left: Int, top: Int, width: Int, height: Int) -> PixelImage {
        precondition(left >= 0 && top >= 0, "a crop lies inside")
        precondition(left + width <= self.width && top + height <= self.height)
        var taken: [UInt8] = []
        taken.reserveCapacity(width * height * Self.channels)
        for row in top..<(top + height) {
            let start = (row * self.width + left) * Self.channels
            taken.append(contentsOf: bytes[start..<(start + width * Self.channels)])
        }
        return PixelImage(width: width, height: height, bytes: taken)
    }

    /// As 32-bit pixels in the order blue, green, red, 255: what Core ML takes.
    public func writeBGRA(to target: UnsafeMutableRawBufferPointer, bytesPerRow: Int) {
        precondition(bytesPerRow >= width * 4, "rows are as long as their pixels")
        precondition(target.count >= bytesPerRow * (height - 1) + width * 4)
        for row in 0..<height {
            for column in 0..<width {
                let from = (row * width + column) * Self.channels
                let to = row * bytesPerRow + column * 4
                target[to] = bytes[from + 2]
                target[to + 1] = bytes[from + 1]
                target[to + 2] = bytes[from]
                target[to + 3] = 255
            }
        }
    }
}
