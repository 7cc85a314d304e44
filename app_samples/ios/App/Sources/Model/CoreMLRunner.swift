import CoreML
import CoreVideo
import Foundation
import MNV2Core

/// Core ML with the package in it. Not `Sendable`: an `Engine` owns it.
final class CoreMLRunner: ModelRunner {
    let model: MLModel
    private let input: String
    private let outputs: [String]
    private let buffer: CVPixelBuffer

    init(compiled: URL, units: ComputeUnits, manifest: Manifest) throws {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units.coreML
        do {
            model = try MLModel(contentsOf: compiled, configuration: configuration)
        } catch {
            throw Problem.runtimeRefused(error.localizedDescription)
        }
        let side = manifest.spec.preprocess.cropSize
        input = try Self.imageInput(of: model, side: side)
        outputs = manifest.artifact.selfTest.outputs.map(\.name)
        buffer = try Self.makeBuffer(side: side)
    }

    func results(for pixels: PixelImage) throws -> [String: Tensor] {
        try fill(pixels)
        let found: any MLFeatureProvider
        do {
            let given = [input: MLFeatureValue(pixelBuffer: buffer)]
            found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: given))
        } catch {
            throw Problem.runtimeRefused(error.localizedDescription)
        }
        return try Dictionary(
            uniqueKeysWithValues: outputs.map { name in
                guard let array = found.featureValue(for: name)?.multiArrayValue else {
                    throw Problem.unexpectedResult("The package has no output \(name).")
                }
                return (name, Tensor(array))
            })
    }

    private static func imageInput(of model: MLModel, side: Int) throws -> String {
        let inputs = model.modelDescription.inputDescriptionsByName
        guard let (name, description) = inputs.first(where: { $0.value.type == .image }),
            let image = description.imageConstraint,
            image.pixelsWide == side, image.pixelsHigh == side
        else {
            throw Problem.unexpectedResult(
                "The package takes no image of \(side) × \(side) pixels.")
        }
        return name
    }

    /// Four bytes per pixel, whichever order of channels the network was trained on: Core ML reads
    /// the buffer's format and the package's, and reorders.
    private static func makeBuffer(side: Int) throws -> CVPixelBuffer {
        let attributes: [CFString: Any] = [kCVPixelBufferIOSurfacePropertiesKey: [String: Any]()]
        var made: CVPixelBuffer?
        let status = CVPixelBufferCreate(
            nil, side, side, kCVPixelFormatType_32BGRA, attributes as CFDictionary, &made)
        guard let made else {
            throw Problem.runtimeRefused("No memory for an image (CVReturn \(status))")
        }
        return made
    }

    private func fill(_ pixels: PixelImage) throws {
        let status = CVPixelBufferLockBaseAddress(buffer, [])
        guard status == kCVReturnSuccess, let base = CVPixelBufferGetBaseAddress(buffer) else {
            throw Problem.runtimeRefused("The image cannot be written (CVReturn \(status))")
        }
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        let pitch = CVPixelBufferGetBytesPerRow(buffer)
        let bytes = UnsafeMutableRawBufferPointer(
            start: base, count: pitch * CVPixelBufferGetHeight(buffer))
        pixels.writeBGRA(to: bytes, bytesPerRow: pitch)
    }
}

extension Tensor {
    /// Row by row, whatever the array's strides and its type (Float, Float16, Int32) are.
    init(_ array: MLMultiArray) {
        let shaped = MLShapedArray<Float>(converting: array)
        self = Tensor(shape: shaped.shape, values: shaped.scalars).withoutBatch
    }
}
