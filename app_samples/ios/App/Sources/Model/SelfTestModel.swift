import MNV2Core
import Observation

/// The self-test's state: a report for every golden image, then a verdict on all together.
@MainActor
@Observable
final class SelfTestModel {
    private(set) var units: ComputeUnits?  // that the reports are of
    private(set) var reports: [ImageReport] = []
    private(set) var verdict: SelfTestVerdict?
    private(set) var problem: Problem?
    private(set) var isRunning = false

    func run(_ engine: Engine, units: ComputeUnits) async {
        (self.units, reports, verdict, problem, isRunning) = (units, [], nil, nil, true)
        defer { isRunning = false }
        do {
            for image in 0..<(await engine.goldenCount) {
                if Task.isCancelled { return }
                reports.append(try await engine.replay(image, units: units))
            }
            verdict = await engine.verdict(reports)
        } catch {
            problem = Problem(error)
        }
    }
}
