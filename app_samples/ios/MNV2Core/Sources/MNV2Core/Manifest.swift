/// What the app reads of `manifest.json`; `docs/manifest.md` of mnv2-export has every field.
public struct Manifest: Decodable, Sendable {
    public static let knownSchema = 1

    public let schemaVersion: Int
    public let spec: Spec
    public let normalize: Affine
    public let options: Options
    public let goldenSHA256: String
    public let artifacts: [Artifact]

    enum CodingKeys: String, CodingKey {
        case schemaVersion = "schema_version"
        case spec
        case normalize
        case options
        case goldenSHA256 = "golden_sha256"
        case artifacts
    }
}

public enum ModelTask: String, Decodable, Sendable {
    case classification, detection, segmentation
}

/// The model.
public struct Spec: Decodable, Sendable {
    public let task: ModelTask
    public let classes: Int
    public let labels: [String]
    public let preprocess: Preprocess
    public let detection: DetectionSpec?

    enum CodingKeys: String, CodingKey {
        case task
        case classes
        case labels
        case preprocess
        case detection
    }

    /// The label of an output, or "class N" of a model that came without labels.
    public func label(_ index: Int) -> String {
        labels.indices.contains(index) ? labels[index] : "class \(index)"
    }
}

public enum ResizeRule: String, Decodable, Sendable {
    case shortest  // keeps the aspect ratio, then the center is cropped
    case stretch
}

public enum ChannelOrder: String, Decodable, Sendable {
    case rgb, bgr
}

/// From a photo to the network's input.
public struct Preprocess: Decodable, Sendable {
    public let resizeRule: ResizeRule
    public let resizeSize: Int
    public let resizeFilter: ResizeFilter
    public let cropSize: Int
    public let channelOrder: ChannelOrder

    enum CodingKeys: String, CodingKey {
        case resizeRule = "resize_rule"
        case resizeSize = "resize_size"
        case resizeFilter = "resize_filter"
        case cropSize = "crop_size"
        case channelOrder = "channel_order"
    }
}

/// x = u * scale[c] + bias[c], of the network's planes.
public struct Affine: Decodable, Sendable {
    public let scale: [Float]
    public let bias: [Float]

    enum CodingKeys: String, CodingKey {
        case scale
        case bias
    }
}

/// How overlapping boxes are removed.
public struct DetectionSpec: Decodable, Sendable {
    public let candidates: Int
    public let iouThreshold: Float
    public let maxDetections: Int
    public let maxPerClass: Int
    public let scoreThreshold: Float

    enum CodingKeys: String, CodingKey {
        case candidates
        case iouThreshold = "iou_threshold"
        case maxDetections = "max_detections"
        case maxPerClass = "max_per_class"
        case scoreThreshold = "score_threshold"
    }
}

/// How the artifact was built.
public struct Options: Decodable, Sendable {
    public let batch: Int
    public let deploymentTarget: String
    public let format: String
    public let io: String
    public let nms: String
    public let outputs: String
    public let softmax: Bool

    enum CodingKeys: String, CodingKey {
        case batch
        case deploymentTarget = "deployment_target"
        case format
        case io
        case nms
        case outputs
        case softmax
    }
}

public struct Artifact: Decodable, Sendable {
    public let path: String
    public let precision: String
    public let sha256: String
    public let selfTest: SelfTestRecord

    enum CodingKeys: String, CodingKey {
        case path
        case precision
        case sha256
        case selfTest = "self_test"
    }
}

/// What a self-test asks of the artifact.
public struct SelfTestRecord: Decodable, Sendable {
    public let reference: String  // the key in golden/expected.json
    public let outputs: [OutputRecord]

    enum CodingKeys: String, CodingKey {
        case reference
        case outputs
    }
}

/// One output; unless `exact`, one of the two limits is given, over all golden images together.
public struct OutputRecord: Decodable, Sendable {
    public let name: String
    public let shape: [Int]  // of one image's result
    public let dtype: String
    public let exact: Bool
    public let minSQNR: Double?  // dB
    public let minAgreement: Double?  // share of equal labels, or of detections in common

    enum CodingKeys: String, CodingKey {
        case name
        case shape
        case dtype
        case exact
        case minSQNR = "min_sqnr_db"
        case minAgreement = "min_agreement"
    }
}

extension Manifest {
    /// Throws for a model that the app would misread.
    func check() throws {
        guard schemaVersion == Self.knownSchema else {
            throw Problem.notSupported(
                "manifest.json has schema version \(schemaVersion); this app reads version "
                    + "\(Self.knownSchema). Make the app again with the newer mnv2-export.")
        }
        let refused: [(Bool, String)] = [
            (artifacts.count != 1, "\(artifacts.count) artifacts, not one"),
            (options.batch != 1, "a batch of \(options.batch)"),
            (options.io != "float32", "inputs and outputs of \(options.io)"),
            (options.format != "mlpackage", "the format \(options.format)"),
            (options.nms == "native", "Core ML's own suppression of boxes"),
            (
                !Set(["logits", "decoded", "labels"]).contains(options.outputs),
                "outputs \(options.outputs)"
            ),
            (spec.task == .detection && spec.detection == nil, "no settings of its detector"),
            (
                !spec.labels.isEmpty && spec.labels.count != spec.classes,
                "\(spec.labels.count) labels for \(spec.classes) classes"
            ),
        ]
        if let found = refused.first(where: \.0) {
            throw Problem.notSupported(
                "The build has \(found.1), which this app does not read. "
                    + "Build without that option.")
        }
    }

    /// Checked to be one.
    public var artifact: Artifact { artifacts[0] }

    /// The system's major version that the package needs: 17 of "iOS17".
    public var requiredSystem: Int {
        Int(options.deploymentTarget.drop { !$0.isNumber }) ?? 0
    }

    /// Throws where the system is older than the package needs; Core ML would say it less clearly.
    public func checkSystem(major: Int) throws {
        guard major >= requiredSystem else {
            throw Problem.runtimeRefused(
                "The model was built for \(options.deploymentTarget), and this is version \(major)")
        }
    }
}
