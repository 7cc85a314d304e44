/// Corners in fractions of the network's input, which may lie beyond it.
public struct Corners: Sendable, Equatable {
    public let left: Float
    public let top: Float
    public let right: Float
    public let bottom: Float

    public init(left: Float, top: Float, right: Float, bottom: Float) {
        self.left = left
        self.top = top
        self.right = right
        self.bottom = bottom
    }

    /// Four values of a row, from `start` on.
    init(_ values: [Float], at start: Int) {
        self.init(
            left: values[start], top: values[start + 1],
            right: values[start + 2], bottom: values[start + 3])
    }

    var area: Float { max(right - left, 0) * max(bottom - top, 0) }

    func intersection(_ other: Corners) -> Float {
        let width = min(right, other.right) - max(left, other.left)
        let height = min(bottom, other.bottom) - max(top, other.top)
        return max(width, 0) * max(height, 0)
    }

    /// Whether two boxes share more than `threshold` of their union.
    func overlaps(_ other: Corners, more threshold: Float) -> Bool {
        let inner = intersection(other)
        return inner > (area + other.area - inner) * threshold
    }
}

/// One detection in the network's input.
public struct FoundBox: Sendable, Equatable {
    public let corners: Corners
    public let score: Float
    public let category: Int  // from 1 on: 0 is the background

    public init(corners: Corners, score: Float, category: Int) {
        self.corners = corners
        self.score = score
        self.category = category
    }
}

/// Class-aware greedy non-maximum suppression, the one that the model's `--nms graph` computes.
public enum GreedyNMS {
    private struct Pair {
        let score: Float
        let anchor: Int
        let category: Int
    }

    /// Best first. `scores` (anchors, classes) with the background first, `boxes` (anchors, 4).
    public static func detections(
        scores: Tensor, boxes: Tensor, spec: DetectionSpec
    ) -> [FoundBox] {
        var kept: [FoundBox] = []
        var ofClass: [Int: [Corners]] = [:]
        for pair in competitors(scores, spec) {
            let corners = Corners(boxes.values, at: pair.anchor * 4)
            let rivals = ofClass[pair.category, default: []]
            if rivals.count == spec.maxPerClass { continue }
            let overlaps = rivals.contains { corners.overlaps($0, more: spec.iouThreshold) }
            if overlaps { continue }
            ofClass[pair.category, default: []].append(corners)
            kept.append(FoundBox(corners: corners, score: pair.score, category: pair.category))
        }
        return Array(kept.prefix(spec.maxDetections))
    }

    /// The best pairs above the threshold; of equal scores the lower anchor, then class.
    ///
    /// Where there are more than `candidates`, what ties with the first that has no place is left
    /// out too: runtimes disagree about the order of equals.
    private static func competitors(_ scores: Tensor, _ spec: DetectionSpec) -> [Pair] {
        let classes = scores.shape[1]
        var pairs: [Pair] = []
        for anchor in 0..<scores.shape[0] {
            for category in 1..<classes {
                let score = scores.values[anchor * classes + category]
                if score > spec.scoreThreshold {
                    pairs.append(Pair(score: score, anchor: anchor, category: category))
                }
            }
        }
        pairs.sort { a, b in
            if a.score != b.score { return a.score > b.score }
            return (a.anchor, a.category) < (b.anchor, b.category)
        }
        guard pairs.count > spec.candidates else { return pairs }
        let floor = pairs[spec.candidates].score
        return pairs.filter { $0.score > floor }
    }

    /// Rows (places, 6) of a model with suppression inside; a score below 0 is no detection.
    public static func unpack(_ detections: Tensor) -> [FoundBox] {
        (0..<detections.shape[0]).compactMap { row in
            let start = row * 6
            let score = detections.values[start + 4]
            guard score >= 0 else { return nil }
            return FoundBox(
                corners: Corners(detections.values, at: start), score: score,
                category: Int(detections.values[start + 5]))
        }
    }
}
