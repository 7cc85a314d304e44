/// Steps 4 to 6 of the contract, for a model that takes a tensor.
///
/// The sample's package takes an image and has these steps inside; this is for an app that hands
/// the same pixels to something else (a `.pte` or `.onnx` of the same build).
public struct Normalization: Sendable {
    let tables: [[Float]]  // per plane of the network, of every 8-bit value
    let order: ChannelOrder

    public init(_ affine: Affine, order: ChannelOrder) {
        // Two roundings to Float, never fused: what the network was calibrated with.
        tables = zip(affine.scale, affine.bias).map { scale, bias in
            (0...255).map { Float($0) * scale + bias }
        }
        self.order = order
    }

    /// (3, height, width), row by row.
    public func tensor(_ pixels: PixelImage) -> [Float] {
        let channels = PixelImage.channels
        return (0..<channels).flatMap { plane in
            let channel = order == .rgb ? plane : channels - 1 - plane
            return stride(from: channel, to: pixels.bytes.count, by: channels).map {
                tables[plane][Int(pixels.bytes[$0])]
            }
        }
    }
}
