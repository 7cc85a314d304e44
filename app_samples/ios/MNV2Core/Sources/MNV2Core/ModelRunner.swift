/// One output for one image: values row by row; labels are small whole numbers.
public struct Tensor: Sendable, Equatable {
    public let shape: [Int]
    public let values: [Float]

    public init(shape: [Int], values: [Float]) {
        precondition(shape.reduce(1, *) == values.count, "as many values as the shape says")
        self.shape = shape
        self.values = values
    }

    /// One image's result of a batch of one.
    public var withoutBatch: Tensor {
        shape.first == 1 && shape.count > 1
            ? Tensor(shape: Array(shape.dropFirst()), values: values) : self
    }
}

/// A runtime with the model in it.
public protocol ModelRunner {
    /// Pixels of the network's size -> every output by its name, without the batch axis.
    func results(for pixels: PixelImage) throws -> [String: Tensor]
}
