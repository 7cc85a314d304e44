/// The class of every pixel, row by row; 0 is the background.
public struct LabelMap: Sendable, Equatable {
    public let width: Int
    public let height: Int
    public let labels: [UInt8]

    public init(width: Int, height: Int, labels: [UInt8]) {
        precondition(labels.count == width * height, "one label per pixel")
        self.width = width
        self.height = height
        self.labels = labels
    }

    /// From labels (height, width), which must be classes of the model.
    init(labels tensor: Tensor, classes: Int) throws {
        guard tensor.shape.count == 2 else {
            throw Problem.unexpectedResult("labels of shape \(tensor.shape)")
        }
        if let odd = tensor.values.first(where: { !($0 >= 0 && $0 < Float(classes)) }) {
            throw Problem.unexpectedResult("the model gives label \(odd) of \(classes) classes")
        }
        self.init(
            width: tensor.shape[1], height: tensor.shape[0],
            labels: tensor.values.map { UInt8($0) })
    }

    /// From logits (classes, height, width): the largest, of equals the first.
    init(logits tensor: Tensor) throws {
        guard tensor.shape.count == 3, tensor.shape[0] <= 256 else {
            throw Problem.unexpectedResult("logits of shape \(tensor.shape)")
        }
        let pixels = tensor.shape[1] * tensor.shape[2]
        var best = Array(tensor.values[0..<pixels])
        var labels = [UInt8](repeating: 0, count: pixels)
        tensor.values.withUnsafeBufferPointer { values in
            for category in 1..<tensor.shape[0] {
                for pixel in 0..<pixels where values[category * pixels + pixel] > best[pixel] {
                    best[pixel] = values[category * pixels + pixel]
                    labels[pixel] = UInt8(category)
                }
            }
        }
        self.init(width: tensor.shape[2], height: tensor.shape[1], labels: labels)
    }

    /// The classes that are there: the background first, then the largest first.
    public func regions(spec: Spec) -> [Region] {
        var counts = [Int](repeating: 0, count: 256)
        for label in labels { counts[Int(label)] += 1 }
        let present = counts.indices.filter { counts[$0] > 0 }.sorted { a, b in
            if (a > 0) != (b > 0) { return a == 0 }
            return counts[a] != counts[b] ? counts[a] > counts[b] : a < b
        }
        return present.map { index in
            let share = Double(counts[index]) / Double(labels.count)
            return Region(index: index, label: spec.label(index), share: share)
        }
    }
}

/// The pixels of one class.
public struct Region: Sendable, Equatable, Identifiable {
    public let index: Int
    public let label: String
    public let share: Double  // of what the network saw

    public var id: Int { index }

    public init(index: Int, label: String, share: Double) {
        self.index = index
        self.label = label
        self.share = share
    }
}
