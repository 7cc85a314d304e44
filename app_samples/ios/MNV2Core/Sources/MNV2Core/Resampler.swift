/// Pillow's antialiased resize: separable, 22-bit fixed-point weights, each pass rounded to 8 bits.
///
/// The model was calibrated and measured on pixels made this way. Core Image, Vision and vImage
/// resize otherwise, so their pixels differ by a few levels and results by a little.
public enum ResizeFilter: String, Decodable, Sendable, CaseIterable {
    case bilinear, bicubic

    var radius: Double { self == .bilinear ? 1 : 2 }

    func weight(_ distance: Double) -> Double {
        let x = abs(distance)
        switch self {
        case .bilinear:
            return x < 1 ? 1 - x : 0
        case .bicubic:
            let a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        }
    }
}

private let fractionBits = 32 - 8 - 2

/// Per output position of one axis: the first source position and the weights from there on.
private struct Taps {
    let first: [Int]
    let weights: [[Int32]]

    init(from length: Int, to size: Int, filter: ResizeFilter) {
        let scale = Double(length) / Double(size)
        let widening = max(scale, 1)  // antialiasing: the filter widens when it shrinks a picture
        let support = filter.radius * widening
        var first: [Int] = []
        var weights: [[Int32]] = []
        for index in 0..<size {
            let center = (Double(index) + 0.5) * scale
            let low = max(0, Int(center - support + 0.5))
            let high = min(length, Int(center + support + 0.5))
            let real = (low..<high).map { position in
                filter.weight((Double(position) - center + 0.5) * (1 / widening))
            }
            let total = real.reduce(0, +)
            first.append(low)
            weights.append(real.map { Self.fixedPoint(total == 0 ? $0 : $0 / total) })
        }
        self.first = first
        self.weights = weights
    }

    private static func fixedPoint(_ weight: Double) -> Int32 {
        let scaled = weight * Double(1 << fractionBits)
        return Int32(weight < 0 ? scaled - 0.5 : scaled + 0.5)
    }
}

extension PixelImage {
    /// The width first, then the height; a pass that changes nothing is left out.
    public func resized(width: Int, height: Int, filter: ResizeFilter) -> PixelImage {
        resizedWidth(width, filter: filter).resizedHeight(height, filter: filter)
    }

    private func resizedWidth(_ size: Int, filter: ResizeFilter) -> PixelImage {
        if size == width { return self }
        let taps = Taps(from: width, to: size, filter: filter)
        return resampled(width: size, height: height) { source, target in
            for row in 0..<height {
                for column in 0..<size {
                    let start = (row * width + taps.first[column]) * Self.channels
                    let place = (row * size + column) * Self.channels
                    mix(source + start, Self.channels, taps.weights[column], target + place)
                }
            }
        }
    }

    private func resizedHeight(_ size: Int, filter: ResizeFilter) -> PixelImage {
        if size == height { return self }
        let taps = Taps(from: height, to: size, filter: filter)
        let pitch = width * Self.channels
        return resampled(width: width, height: size) { source, target in
            for row in 0..<size {
                for column in 0..<width {
                    let start = taps.first[row] * pitch + column * Self.channels
                    let place = row * pitch + column * Self.channels
                    mix(source + start, pitch, taps.weights[row], target + place)
                }
            }
        }
    }

    private func resampled(
        width: Int,
        height: Int,
        fill: (UnsafePointer<UInt8>, UnsafeMutablePointer<UInt8>) -> Void
    ) -> PixelImage {
        let size = width * height * Self.channels
        let made = [UInt8](unsafeUninitializedCapacity: size) { target, count in
            bytes.withUnsafeBufferPointer { source in
                guard let from = source.baseAddress, let to = target.baseAddress else { return }
                fill(from, to)
            }
            count = size
        }
        return PixelImage(width: width, height: height, bytes: made)
    }
}

/// One pixel of three channels: the weighted sum of pixels that lie `step` bytes apart.
private func mix(
    _ source: UnsafePointer<UInt8>,
    _ step: Int,
    _ weights: [Int32],
    _ target: UnsafeMutablePointer<UInt8>
) {
    let half = Int32(1) << Int32(fractionBits - 1)
    var red = half
    var green = half
    var blue = half
    var place = 0
    for weight in weights {
        red &+= Int32(source[place]) &* weight
        green &+= Int32(source[place + 1]) &* weight
        blue &+= Int32(source[place + 2]) &* weight
        place += step
    }
    target[0] = UInt8(clamping: red >> Int32(fractionBits))
    target[1] = UInt8(clamping: green >> Int32(fractionBits))
    target[2] = UInt8(clamping: blue >> Int32(fractionBits))
}
