/// `golden/expected.json`: images of the network's size, and what the references give for them.
public struct Golden: Decodable, Sendable {
    public static let knownFormat = 1

    public let formatVersion: Int
    public let inputs: [Input]
    let logits: [String: [[Double]]]?  // of classifiers: [reference][image][class]
    let outputs: [String: [String: Fingerprint]]?  // of others: [reference][output]

    public struct Input: Decodable, Sendable {
        public let name: String
        public let file: String

        enum CodingKeys: String, CodingKey {
            case name
            case file
        }
    }

    enum CodingKeys: String, CodingKey {
        case formatVersion = "format_version"
        case inputs
        case logits
        case outputs
    }

    /// What one output must be for every image.
    func expected(_ reference: String, _ output: OutputRecord) throws -> Fingerprint {
        if let found = outputs?[reference]?[output.name] { return found }
        if output.name == "logits", let rows = logits?[reference] {
            return Fingerprint(shape: output.shape, samples: rows)
        }
        throw Problem.unreadable(
            file: "golden/expected.json", reason: "no \(output.name) of \(reference)")
    }
}

/// Digests and samples of one output's results.
struct Fingerprint: Decodable, Sendable {
    let shape: [Int]
    let sha256: [String]?  // per image, of little-endian values; absent where samples are complete
    let stride: Int  // every so many values, from the first, are in the sample
    let samples: [[Double]]  // per image

    enum CodingKeys: String, CodingKey {
        case shape
        case sha256
        case stride
        case samples
    }

    /// Of a classifier, whose values are all there.
    init(shape: [Int], samples: [[Double]]) {
        self.shape = shape
        self.samples = samples
        stride = 1
        sha256 = nil
    }
}
