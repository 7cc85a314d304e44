import Foundation
import MNV2Core
import Observation

/// The first screen's state: a photo and what the model says of it.
@MainActor
@Observable
final class PhotoModel {
    enum Stage {
        case empty
        case working
        case shown(PhotoResult)
        case failed(Problem)
    }

    private(set) var stage = Stage.empty
    private(set) var data: Data?
    private var run = 0

    /// A photo is on its way, maybe from iCloud: the one before it counts no more.
    func expectPhoto() {
        run += 1
        data = nil
        stage = .working
    }

    /// Nil: the file could not be loaded.
    func choose(_ data: Data?) {
        run += 1  // what is still running has another photo
        self.data = data
        stage = data == nil ? .failed(.notAnImage) : .working
    }

    /// Only the latest call shows its result: a photo that is chosen meanwhile wins.
    func predict(with engine: Engine, units: ComputeUnits, path: ResizePath) async {
        guard let data else { return }
        run += 1
        let mine = run
        stage = .working
        let found: Stage
        do {
            found = .shown(try await engine.predict(data, units: units, path: path))
        } catch {
            found = .failed(Problem(error))
        }
        if mine == run { stage = found }
    }
}
