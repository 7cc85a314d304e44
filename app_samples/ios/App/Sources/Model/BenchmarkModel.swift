import Foundation
import MNV2Core
import Observation

/// The benchmark's state: warm-up, then measurements in small portions, so that it can be stopped.
@MainActor
@Observable
final class BenchmarkModel {
    static let counts = [50, 200, 1000]
    private static let warmUp = 10
    private static let portion = 10

    var count = counts[0]
    private(set) var units: ComputeUnits?  // that the figures are of
    private(set) var done = 0
    private(set) var startUp: StartUp?
    private(set) var statistics: BenchmarkStatistics?
    private(set) var thermal: (before: ProcessInfo.ThermalState, after: ProcessInfo.ThermalState)?
    private(set) var problem: Problem?
    private(set) var isRunning = false

    func run(_ engine: Engine, units: ComputeUnits) async {
        (done, startUp, statistics, thermal, problem) = (0, nil, nil, nil, nil)
        (self.units, isRunning) = (units, true)
        defer { isRunning = false }
        let before = ProcessInfo.processInfo.thermalState
        var latencies: [Double] = []
        do {
            startUp = try await engine.startUp(units)
            _ = try await engine.measure(Self.warmUp, units: units)
            while latencies.count < count {
                if Task.isCancelled { return }
                latencies += try await engine.measure(Self.portion, units: units)
                done = latencies.count
            }
        } catch {
            problem = Problem(error)
            return
        }
        statistics = BenchmarkStatistics(latencies)
        thermal = (before, ProcessInfo.processInfo.thermalState)
    }
}

extension ProcessInfo.ThermalState {
    var title: String {
        switch self {
        case .nominal: "nominal"
        case .fair: "fair"
        case .serious: "serious"
        case .critical: "critical"
        @unknown default: "unknown"
        }
    }
}
