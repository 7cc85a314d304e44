import CoreGraphics
import CoreML
import MNV2Core
import Vision

/// The same model by way of Vision, as a live camera would use it.
///
/// Vision resizes on the GPU by a filter that Apple does not document, so its pixels are not the
/// ones that the model was calibrated and measured on; results are alike, not equal. The region of
/// interest frames a photo as the contract does; `scaleFill` then stretches exactly that.
struct VisionRunner {
    let model: MLModel

    func prediction(photo: CGImage, framing: Framing, predictor: Predictor) throws -> Prediction {
        let request: VNCoreMLRequest
        do {
            request = VNCoreMLRequest(model: try VNCoreMLModel(for: model))
            request.imageCropAndScaleOption = .scaleFill
            let seen = framing.regionOfInterest
            request.regionOfInterest = CGRect(
                x: seen.x, y: seen.y, width: seen.width, height: seen.height)
            try VNImageRequestHandler(cgImage: photo).perform([request])
        } catch {
            throw Problem.runtimeRefused(error.localizedDescription)
        }
        return try read(request.results ?? [], framing, predictor)
    }

    /// Of a classifier Vision gives labels and probabilities, of other models the arrays.
    private func read(
        _ observations: [VNObservation], _ framing: Framing, _ predictor: Predictor
    ) throws -> Prediction {
        if let classes = observations as? [VNClassificationObservation], !classes.isEmpty {
            let named = classes.map { (label: $0.identifier, probability: Double($0.confidence)) }
            let spec = predictor.manifest.spec
            return .classes(Classification.top(predictor.top, of: named, spec: spec))
        }
        var results: [String: Tensor] = [:]
        for case let found as VNCoreMLFeatureValueObservation in observations {
            results[found.featureName] = found.featureValue.multiArrayValue.map { Tensor($0) }
        }
        return try predictor.prediction(from: results, framing: framing)
    }
}
