/// How a stored picture has to be turned to stand upright; the numbers are EXIF's.
public enum Orientation: Int, Sendable, CaseIterable {
    case up = 1
    case upMirrored, down, downMirrored, leftMirrored, right, rightMirrored, left

    var swapsSides: Bool { rawValue >= Self.leftMirrored.rawValue }

    /// Of the upright picture's pixel, the stored one's; `width` and `height` are the stored ones.
    func source(x: Int, y: Int, width: Int, height: Int) -> (x: Int, y: Int) {
        switch self {
        case .up: (x, y)
        case .upMirrored: (width - 1 - x, y)
        case .down: (width - 1 - x, height - 1 - y)
        case .downMirrored: (x, height - 1 - y)
        case .leftMirrored: (y, x)
        case .right: (y, height - 1 - x)
        case .rightMirrored: (width - 1 - y, height - 1 - x)
        case .left: (width - 1 - y, x)
        }
    }
}

extension PixelImage {
    /// Step 1 of the contract, after decoding.
    public func upright(from orientation: Orientation) -> PixelImage {
        if orientation == .up { return self }
        let (newWidth, newHeight) = orientation.swapsSides ? (height, width) : (width, height)
        let turned = [UInt8](unsafeUninitializedCapacity: bytes.count) { target, count in
            for y in 0..<newHeight {
                for x in 0..<newWidth {
                    let from = orientation.source(x: x, y: y, width: width, height: height)
                    let source = (from.y * width + from.x) * Self.channels
                    let place = (y * newWidth + x) * Self.channels
                    for channel in 0..<Self.channels {
                        target[place + channel] = bytes[source + channel]
                    }
                }
            }
            count = bytes.count
        }
        return PixelImage(width: newWidth, height: newHeight, bytes: turned)
    }
}
