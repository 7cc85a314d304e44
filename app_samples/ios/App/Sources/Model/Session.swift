import Foundation
import MNV2Core
import Observation

/// What all screens share: the engine, once it is open, and where it computes.
@MainActor
@Observable
final class Session {
    enum Stage {
        case opening
        case ready(Engine, Manifest)
        case failed(Problem)
    }

    private(set) var stage = Stage.opening
    var units = ComputeUnits.all

    func open() async {
        stage = .opening
        do {
            let engine = try await Engine.open()
            stage = .ready(engine, engine.folder.manifest)
        } catch {
            stage = .failed(Problem(error))
        }
    }
}
