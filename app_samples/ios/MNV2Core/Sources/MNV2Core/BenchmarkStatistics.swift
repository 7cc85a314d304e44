/// Of repeated measurements, in milliseconds.
public struct BenchmarkStatistics: Sendable, Equatable {
    private let sorted: [Double]

    /// Nil of no measurement.
    public init?(_ latencies: [Double]) {
        guard !latencies.isEmpty else { return nil }
        sorted = latencies.sorted()
    }

    public var count: Int { sorted.count }
    public var min: Double { sorted[0] }
    public var p50: Double { percentile(50) }
    public var p90: Double { percentile(90) }
    public var p99: Double { percentile(99) }

    /// The smallest measurement that so many percent do not exceed (nearest rank): a time that
    /// was measured, never one between two.
    public func percentile(_ percent: Int) -> Double {
        let rank = (percent * sorted.count + 99) / 100
        return sorted[Swift.min(Swift.max(rank, 1), sorted.count) - 1]
    }
}
