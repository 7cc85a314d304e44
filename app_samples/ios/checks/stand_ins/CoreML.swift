// Stand-in; see CoreGraphics.swift. No class here is Sendable, which is stricter than Apple's.
@_exported import CoreVideo
import Foundation

public enum MLComputeUnits { case all, cpuOnly, cpuAndGPU, cpuAndNeuralEngine }
public enum MLFeatureType { case invalid, image, multiArray, string, dictionary }

public class MLModelConfiguration {
    public init() {}
    public var computeUnits: MLComputeUnits = .all
}

public class MLImageConstraint {
    public var pixelsWide: Int { fatalError() }
    public var pixelsHigh: Int { fatalError() }
}

public class MLFeatureDescription {
    public var type: MLFeatureType { fatalError() }
    public var imageConstraint: MLImageConstraint? { fatalError() }
}

public class MLModelDescription {
    public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
}

public class MLMultiArray {}

public struct MLShapedArray<Scalar> {
    public init(converting array: MLMultiArray) { fatalError() }
    public var shape: [Int] { fatalError() }
    public var scalars: [Scalar] { fatalError() }
}

public class MLFeatureValue {
    public init(pixelBuffer: CVPixelBuffer) { fatalError() }
    public var multiArrayValue: MLMultiArray? { fatalError() }
}

public protocol MLFeatureProvider {
    func featureValue(for name: String) -> MLFeatureValue?
}

public class MLDictionaryFeatureProvider: MLFeatureProvider {
    public init(dictionary: [String: Any]) throws { fatalError() }
    public func featureValue(for name: String) -> MLFeatureValue? { fatalError() }
}

public class MLModel {
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws { fatalError() }
    public var modelDescription: MLModelDescription { fatalError() }
    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
        fatalError()
    }
    public func prediction(from input: any MLFeatureProvider) async throws
        -> any MLFeatureProvider
    { fatalError() }
    public static func compileModel(at url: URL) async throws -> URL { fatalError() }
}
