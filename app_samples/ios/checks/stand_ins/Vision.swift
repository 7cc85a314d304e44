// Stand-in; see CoreGraphics.swift.
import CoreGraphics
import CoreML

public enum VNImageCropAndScaleOption { case centerCrop, scaleFit, scaleFill }

public class VNObservation {}

public class VNClassificationObservation: VNObservation {
    public var identifier: String { fatalError() }
    public var confidence: Float { fatalError() }
}

public class VNCoreMLFeatureValueObservation: VNObservation {
    public var featureName: String { fatalError() }
    public var featureValue: MLFeatureValue { fatalError() }
}

public class VNCoreMLModel {
    public init(for model: MLModel) throws { fatalError() }
}

public class VNRequest {
    public var results: [VNObservation]? { fatalError() }
    public var regionOfInterest: CGRect {
        get { fatalError() }
        set {}
    }
}

public class VNCoreMLRequest: VNRequest {
    public init(model: VNCoreMLModel) { fatalError() }
    public var imageCropAndScaleOption: VNImageCropAndScaleOption {
        get { fatalError() }
        set {}
    }
}

public class VNImageRequestHandler {
    public init(cgImage: CGImage) { fatalError() }
    public func perform(_ requests: [VNRequest]) throws { fatalError() }
}
