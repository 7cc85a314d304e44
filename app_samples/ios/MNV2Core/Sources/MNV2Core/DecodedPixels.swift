/// How a decoder lays out the pixels that it decoded.
public struct DecodedLayout: Sendable, Equatable {
    public let isGray: Bool  // one sample per pixel, otherwise red, green, blue and one more
    public let isWide: Bool  // samples of 16 bits in the machine's order, the lower byte first
    public let bytesPerRow: Int

    public init(isGray: Bool, isWide: Bool, bytesPerRow: Int) {
        self.isGray = isGray
        self.isWide = isWide
        self.bytesPerRow = bytesPerRow
    }

    var bytesPerSample: Int { isWide ? 2 : 1 }
    var bytesPerPixel: Int { (isGray ? 1 : 4) * bytesPerSample }
}

extension PixelImage {
    /// The contract's first step: of 16 bits the upper 8 stay, gray becomes three equal channels,
    /// and the fourth sample of a color (opacity, or nothing) is dropped.
    public init(width: Int, height: Int, decoded: UnsafeRawBufferPointer, layout: DecodedLayout) {
        let pixel = layout.bytesPerPixel
        precondition(layout.bytesPerRow >= width * pixel, "rows are as long as their pixels")
        precondition(decoded.count >= layout.bytesPerRow * (height - 1) + width * pixel)
        let upper = layout.bytesPerSample - 1
        let step = layout.isGray ? 0 : layout.bytesPerSample
        let size = width * height * Self.channels
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { target, count in
            var next = 0
            for row in 0..<height {
                var place = row * layout.bytesPerRow + upper
                for _ in 0..<width {
                    for channel in 0..<Self.channels {
                        target[next + channel] = decoded[place + channel * step]
                    }
                    next += Self.channels
                    place += pixel
                }
            }
            count = size
        }
        self.init(width: width, height: height, bytes: bytes)
    }
}
