/// The detections that two results have in common: of one class, about one score, nearly one box.
struct SharedDetections {
    private static let sameIoU: Float = 0.9
    private static let sameScore: Float = 0.02

    let rows: Int  // of both
    let matched: Int  // of both

    /// Rows of x1, y1, x2, y2, score, class; each counts once.
    init(_ expected: [Float], _ actual: [Float]) {
        let ours = GreedyNMS.unpack(Self.table(expected))
        let theirs = GreedyNMS.unpack(Self.table(actual))
        var free = [Bool](repeating: true, count: theirs.count)
        for box in ours {
            let alike = theirs.indices.filter { place in
                free[place] && theirs[place].category == box.category
                    && abs(theirs[place].score - box.score) < Self.sameScore
            }
            let overlaps = alike.map { Self.iou(box.corners, theirs[$0].corners) }
            guard let most = overlaps.max(), most >= Self.sameIoU,
                let best = overlaps.firstIndex(of: most)
            else { continue }
            free[alike[best]] = false
        }
        rows = ours.count + theirs.count
        matched = 2 * free.filter { !$0 }.count
    }

    private static func table(_ values: [Float]) -> Tensor {
        Tensor(shape: [values.count / 6, 6], values: values)
    }

    /// Two equal boxes overlap wholly, even without area.
    private static func iou(_ a: Corners, _ b: Corners) -> Float {
        if a == b { return 1 }
        let inner = a.intersection(b)
        return inner / max(a.area + b.area - inner, .leastNormalMagnitude)
    }
}
