import Foundation

/// How results differ from what is expected; those of several images add up.
struct Difference: Sendable, Equatable {
    var problem: String?  // the result cannot be compared at all
    var unequalImages = 0  // by every bit, where a digest is there
    var place: String?  // of the first difference, or of the largest
    var signal = 0.0, noise = 0.0  // sums of squares over the sample
    var counted = 0, agreeing = 0  // labels, or detections of both sides

    /// Signal to quantization-noise ratio in dB; of what is not finite the worst there is.
    var sqnr: Double {
        if noise == 0 { return .infinity }
        return signal > 0 && noise.isFinite ? 10 * log10(signal / noise) : -.infinity
    }

    var agreement: Double { counted == 0 ? 1 : Double(agreeing) / Double(counted) }

    static func + (a: Difference, b: Difference) -> Difference {
        Difference(
            problem: a.problem ?? b.problem,
            unequalImages: a.unequalImages + b.unequalImages,
            signal: a.signal + b.signal, noise: a.noise + b.noise,
            counted: a.counted + b.counted, agreeing: a.agreeing + b.agreeing)
    }
}

extension Difference {
    static let labelType = "uint8"

    /// Of one image; `result` nil is an output that the model does not have.
    init(_ record: OutputRecord, _ expected: Fingerprint, image: Int, result: Tensor?) {
        self.init()
        guard let result else {
            problem = "the model gives no such output"
            return
        }
        guard result.shape == record.shape, expected.shape == record.shape else {
            problem = "of the shape \(result.shape), not \(record.shape)"
            return
        }
        let sample = Swift.stride(from: 0, to: result.values.count, by: expected.stride)
            .prefix(expected.samples[image].count)
        let wanted = expected.samples[image].map { Float($0) }
        let found = sample.map { result.values[$0] }
        guard wanted.count == found.count else {
            problem = "golden/expected.json has \(wanted.count) values for \(found.count)"
            return
        }
        if record.exact {
            compareBits(record, expected.sha256?[image], result, wanted, found, expected.stride)
        } else if record.minAgreement != nil {
            compareDecisions(record, wanted, found, complete: expected.stride == 1)
        } else {
            compareRatio(wanted, found, expected.stride)
        }
    }

    private mutating func compareBits(
        _ record: OutputRecord, _ digest: String?, _ result: Tensor,
        _ wanted: [Float], _ found: [Float], _ stride: Int
    ) {
        let first = zip(wanted, found).enumerated().first { $1.0.bitPattern != $1.1.bitPattern }
        let equal = digest.map { $0 == result.sha256(dtype: record.dtype) } ?? (first == nil)
        if equal { return }
        unequalImages = 1
        place =
            first.map { "first at \($0 * stride): \($1.1) instead of \($1.0)" }
            ?? "differs outside the sample"
    }

    private mutating func compareRatio(_ wanted: [Float], _ found: [Float], _ stride: Int) {
        var largest = (index: 0, distance: 0.0)
        for (index, (expected, actual)) in zip(wanted, found).enumerated() {
            let distance = Double(actual) - Double(expected)
            signal += Double(expected) * Double(expected)
            noise += distance * distance
            if !(abs(distance) <= largest.distance) { largest = (index, abs(distance)) }
        }
        guard largest.distance != 0 else { return }
        let (expected, actual) = (wanted[largest.index], found[largest.index])
        place = "largest at \(largest.index * stride): \(actual) instead of \(expected)"
    }

    private mutating func compareDecisions(
        _ record: OutputRecord, _ wanted: [Float], _ found: [Float], complete: Bool
    ) {
        if record.dtype == Self.labelType {
            counted = wanted.count
            agreeing = zip(wanted, found).filter(==).count
        } else if complete, record.shape.last == 6 {
            let shared = SharedDetections(wanted, found)
            (counted, agreeing) = (shared.rows, shared.matched)
        } else {
            problem = "golden/expected.json has a part of the \(record.name); build again"
        }
    }
}

extension Tensor {
    /// Of the little-endian bytes that values of this type have.
    func sha256(dtype: String) -> String {
        if dtype == Difference.labelType {
            return SHA256.hex(values.map { UInt8(exactly: $0) ?? .max })
        }
        let bytes = values.flatMap { value in
            withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        }
        return SHA256.hex(bytes)
    }
}
