/// The part of an upright photo that the network sees, and the way back to the photo.
public struct Framing: Sendable, Equatable {
    public let width: Int  // of the photo, pixels
    public let height: Int
    public let edges: Edges  // of what is seen

    /// In the photo's pixels.
    public struct Edges: Sendable, Equatable {
        public let left: Double
        public let top: Double
        public let right: Double
        public let bottom: Double

        public init(left: Double, top: Double, right: Double, bottom: Double) {
            self.left = left
            self.top = top
            self.right = right
            self.bottom = bottom
        }

        public var width: Double { right - left }
        public var height: Double { bottom - top }
    }

    public init(width: Int, height: Int, contract: Preprocess) {
        self.width = width
        self.height = height
        let resized = contract.resizedSize(width: width, height: height)
        let corner = contract.cropCorner(of: resized)
        let x = Double(width) / Double(resized.width)
        let y = Double(height) / Double(resized.height)
        let side = Double(contract.cropSize)
        let left = Double(corner.left) * x
        let top = Double(corner.top) * y
        edges = Edges(left: left, top: top, right: left + side * x, bottom: top + side * y)
    }

    /// Of the photo that is seen, 1 where nothing is cropped.
    public var share: Double {
        edges.width * edges.height / Double(width * height)
    }

    /// On the photo; what reaches beyond the input is cut off, since nothing is known there.
    public func toPhoto(_ corners: Corners) -> Edges {
        func x(_ value: Float) -> Double { edges.left + clipped(value) * edges.width }
        func y(_ value: Float) -> Double { edges.top + clipped(value) * edges.height }
        return Edges(
            left: x(corners.left), top: y(corners.top),
            right: x(corners.right), bottom: y(corners.bottom))
    }

    /// What is seen as a part of the photo, for Vision's region of interest: from the lower left.
    public var regionOfInterest: (x: Double, y: Double, width: Double, height: Double) {
        let wide = Double(width)
        let high = Double(height)
        return (
            edges.left / wide, (high - edges.bottom) / high,
            edges.width / wide, edges.height / high
        )
    }

    /// One label per pixel of the photo, 0 where the network did not look; for saving a mask.
    public func toPhoto(_ map: LabelMap) -> LabelMap {
        let rows = cells(height, edges.top, edges.bottom, map.height)
        let columns = cells(width, edges.left, edges.right, map.width)
        let labels = rows.flatMap { row in
            columns.map { column -> UInt8 in
                guard let row, let column else { return 0 }
                return map.labels[row * map.width + column]
            }
        }
        return LabelMap(width: width, height: height, labels: labels)
    }

    /// Per pixel of one side: the cell that its center falls on.
    private func cells(_ side: Int, _ low: Double, _ high: Double, _ count: Int) -> [Int?] {
        (0..<side).map { pixel in
            let along = (Double(pixel) + 0.5 - low) / (high - low) * Double(count)
            let cell = Int(along.rounded(.down))
            return (0..<count).contains(cell) ? cell : nil
        }
    }

    private func clipped(_ value: Float) -> Double { min(max(Double(value), 0), 1) }
}
