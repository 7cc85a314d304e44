/// What the model says of one photo, in words and in the photo's own pixels.
public enum Prediction: Sendable, Equatable {
    case classes([RankedClass])
    case objects([FoundObject])
    case regions(LabelMap, [Region])
}

/// An object on a photo.
public struct FoundObject: Sendable, Equatable {
    public let index: Int
    public let label: String
    public let score: Float
    public let box: Framing.Edges

    public init(index: Int, label: String, score: Float, box: Framing.Edges) {
        self.index = index
        self.label = label
        self.score = score
        self.box = box
    }
}

/// Reads a model's results by the manifest's record of them.
public struct Predictor: Sendable {
    public static let defaultThreshold: Float = 0.4
    public static let defaultTop = 5

    public let manifest: Manifest
    public let threshold: Float  // objects of a lower score are not shown
    public let top: Int  // so many classes are shown

    public init(
        manifest: Manifest,
        threshold: Float = Predictor.defaultThreshold,
        top: Int = Predictor.defaultTop
    ) {
        self.manifest = manifest
        self.threshold = threshold
        self.top = top
    }

    public func prediction(
        from results: [String: Tensor], framing: Framing
    ) throws -> Prediction {
        try checkLayout(results)
        switch manifest.spec.task {
        case .classification: return .classes(classes(try tensor("logits", results)))
        case .detection: return .objects(objects(try boxes(results), framing))
        case .segmentation:
            let map = try labelMap(results)
            return .regions(map, map.regions(spec: manifest.spec))
        }
    }

    /// Every output that the manifest names is there, in its shape.
    func checkLayout(_ results: [String: Tensor]) throws {
        for output in manifest.artifact.selfTest.outputs {
            let shape = try tensor(output.name, results).shape
            guard shape == output.shape else {
                throw Problem.unexpectedResult(
                    "\(output.name) have the shape \(shape), not \(output.shape)")
            }
        }
    }

    private func tensor(_ name: String, _ results: [String: Tensor]) throws -> Tensor {
        guard let found = results[name] else {
            let given = results.keys.sorted().joined(separator: ", ")
            throw Problem.unexpectedResult("no output \(name) among \(given)")
        }
        return found
    }

    private func classes(_ logits: Tensor) -> [RankedClass] {
        let done = manifest.options.softmax
        let probabilities =
            done ? logits.values.map(Double.init) : Classification.softmax(logits.values)
        return Classification.top(top, of: probabilities, spec: manifest.spec)
    }

    private func boxes(_ results: [String: Tensor]) throws -> [FoundBox] {
        if let detections = results["detections"] { return GreedyNMS.unpack(detections) }
        guard let spec = manifest.spec.detection else { return [] }
        let scores = try tensor("scores", results)
        let boxes = try tensor("boxes", results)
        return GreedyNMS.detections(scores: scores, boxes: boxes, spec: spec)
    }

    /// Those that score enough and have an area on the photo.
    private func objects(_ found: [FoundBox], _ framing: Framing) -> [FoundObject] {
        found.filter { $0.score >= threshold }.compactMap { found in
            let box = framing.toPhoto(found.corners)
            guard box.right > box.left, box.bottom > box.top else { return nil }
            let label = manifest.spec.label(found.category)
            return FoundObject(index: found.category, label: label, score: found.score, box: box)
        }
    }

    private func labelMap(_ results: [String: Tensor]) throws -> LabelMap {
        if let labels = results["labels"] {
            return try LabelMap(labels: labels, classes: manifest.spec.classes)
        }
        return try LabelMap(logits: tensor("logits", results))
    }
}
