import Foundation

/// A class with its probability.
public struct RankedClass: Sendable, Equatable, Identifiable {
    public let index: Int
    public let label: String
    public let probability: Double

    public var id: Int { index }

    public init(index: Int, label: String, probability: Double) {
        self.index = index
        self.label = label
        self.probability = probability
    }
}

public enum Classification {
    /// Computed in Double: the ratio of close classes survives.
    public static func softmax(_ logits: [Float]) -> [Double] {
        let largest = Double(logits.max() ?? 0)
        let powers = logits.map { exp(Double($0) - largest) }
        let total = powers.reduce(0, +)
        return powers.map { $0 / total }
    }

    /// The likeliest first; of equals the lower index.
    public static func top(_ count: Int, of probabilities: [Double], spec: Spec) -> [RankedClass] {
        let order = probabilities.indices.sorted { a, b in
            probabilities[a] != probabilities[b] ? probabilities[a] > probabilities[b] : a < b
        }
        return order.prefix(count).map { index in
            RankedClass(
                index: index, label: spec.label(index), probability: probabilities[index])
        }
    }

    /// From labels with their probabilities, as Core ML and Vision give a classifier's results.
    public static func top(
        _ count: Int, of named: [(label: String, probability: Double)], spec: Spec
    ) -> [RankedClass] {
        let indices = spec.indicesByCoreMLLabel
        var probabilities = [Double](repeating: 0, count: spec.classes)
        for (label, probability) in named {
            guard let index = indices[label] else { continue }
            probabilities[index] = probability
        }
        return top(count, of: probabilities, spec: spec)
    }
}

extension Spec {
    /// By the labels of the package, where those that occur twice carry their class number.
    var indicesByCoreMLLabel: [String: Int] {
        let named = (0..<classes).flatMap { index in
            [(label(index), index), ("\(label(index)) (class \(index))", index)]
        }
        return Dictionary(named, uniquingKeysWith: { first, _ in first })
    }
}
