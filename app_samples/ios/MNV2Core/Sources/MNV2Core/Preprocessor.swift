/// Steps 2 and 3 of the contract, from an upright photo to the network's pixels.
///
/// A Core ML package does the rest itself: its image input knows the channel order, and the program
/// begins with the normalization.
public struct Preprocessor: Sendable {
    /// Pixels of a photo that was resized and is not yet cropped: beyond, it would take gigabytes.
    static let largestResult = 1 << 28

    public let contract: Preprocess

    public init(contract: Preprocess) {
        self.contract = contract
    }

    /// The network's pixels, RGB; throws for a photo of one row and the like, which would explode.
    public func pixels(of photo: PixelImage) throws -> PixelImage {
        let size = contract.resizedSize(width: photo.width, height: photo.height)
        guard size.width * max(size.height, photo.height) <= Self.largestResult else {
            throw Problem.cannotBeResized(
                from: "\(photo.width) × \(photo.height)", to: "\(size.width) × \(size.height)")
        }
        let resized = photo.resized(
            width: size.width, height: size.height, filter: contract.resizeFilter)
        let corner = contract.cropCorner(of: size)
        let side = contract.cropSize
        return resized.cropped(left: corner.left, top: corner.top, width: side, height: side)
    }
}

extension Preprocess {
    /// A photo's size after the resize, before the crop.
    func resizedSize(width: Int, height: Int) -> (width: Int, height: Int) {
        if resizeRule == .stretch { return (resizeSize, resizeSize) }
        let short = min(width, height)
        let long = max(width, height)
        let other = max(resizeSize, Int(Double(resizeSize * long) / Double(short)))
        return width <= height ? (resizeSize, other) : (other, resizeSize)
    }

    /// Of the crop in a resized photo; half pixels go to the even neighbor.
    func cropCorner(of size: (width: Int, height: Int)) -> (left: Int, top: Int) {
        let corner = [size.width, size.height].map { side in
            Int((Double(side - cropSize) / 2).rounded(.toNearestOrEven))
        }
        return (corner[0], corner[1])
    }
}
