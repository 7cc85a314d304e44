import CoreGraphics
import Foundation
import MNV2Core

/// How a photo gets the network's size.
enum ResizePath: String, CaseIterable, Identifiable, Sendable {
    case exact, vision

    var id: Self { self }

    var title: String { self == .exact ? "As trained" : "Vision" }
}

/// What the model says of a photo, and how long that took.
struct PhotoResult: Sendable {
    let prediction: Prediction
    let framing: Framing
    let prepareMs: Double  // resize and crop; 0 where Vision does it inside
    let inferenceMs: Double
}

/// What the first photo after a launch waits for.
struct StartUp: Sendable {
    let loadMs: Double
    let firstMs: Double  // the first inference, for which Core ML may still prepare something
}

/// The model and all that is slow: an actor, so that none of it runs on the main thread.
actor Engine {
    let folder: ModelFolder
    private let compiled: URL
    private let test: SelfTest
    private var runners: [ComputeUnits: CoreMLRunner] = [:]

    private init(folder: ModelFolder, compiled: URL, test: SelfTest) {
        self.folder = folder
        self.compiled = compiled
        self.test = test
    }

    /// Checks the chain of digests from the code to the model, then compiles what it found.
    static func open() async throws -> Engine {
        guard let url = Bundle.main.url(forResource: "model", withExtension: nil) else {
            throw Problem.modelMissing(file: "manifest.json")
        }
        let pins = Pins(
            manifestSHA256: ModelContract.manifestSHA256, artifact: ModelContract.artifact,
            artifactSHA256: ModelContract.artifactSHA256)
        let folder = try ModelFolder.open(url, pins: pins)
        try folder.manifest.checkSystem(
            major: ProcessInfo.processInfo.operatingSystemVersion.majorVersion)
        let test = try SelfTest(record: folder.manifest.artifact.selfTest, golden: folder.golden())
        let compiled = try await CompiledModel.url(of: folder)
        return Engine(folder: folder, compiled: compiled, test: test)
    }

    // MARK: Photos

    func predict(_ data: Data, units: ComputeUnits, path: ResizePath) throws -> PhotoResult {
        let photo = try PhotoDecoder.photo(from: data)
        let framing = Framing(
            width: photo.width, height: photo.height, contract: folder.manifest.spec.preprocess)
        let runner = try runner(units)
        return switch path {
        case .exact: try predictExactly(photo, framing, runner)
        case .vision: try predictByVision(photo, framing, runner)
        }
    }

    private func predictExactly(
        _ photo: PixelImage, _ framing: Framing, _ runner: CoreMLRunner
    ) throws -> PhotoResult {
        let preprocessor = Preprocessor(contract: folder.manifest.spec.preprocess)
        let (pixels, prepareMs) = try timed { try preprocessor.pixels(of: photo) }
        let (results, inferenceMs) = try timed { try runner.results(for: pixels) }
        let predictor = Predictor(manifest: folder.manifest)
        return PhotoResult(
            prediction: try predictor.prediction(from: results, framing: framing),
            framing: framing, prepareMs: prepareMs, inferenceMs: inferenceMs)
    }

    private func predictByVision(
        _ photo: PixelImage, _ framing: Framing, _ runner: CoreMLRunner
    ) throws -> PhotoResult {
        let image = CGImage.make(
            width: photo.width, height: photo.height, bytes: photo.bytes, hasOpacity: false)
        guard let image else { throw Problem.notAnImage }
        let vision = VisionRunner(model: runner.model)
        let predictor = Predictor(manifest: folder.manifest)
        let (prediction, inferenceMs) = try timed {
            try vision.prediction(photo: image, framing: framing, predictor: predictor)
        }
        return PhotoResult(
            prediction: prediction, framing: framing, prepareMs: 0, inferenceMs: inferenceMs)
    }

    // MARK: Self-test

    var goldenCount: Int { test.golden.inputs.count }

    /// One golden image, which has the network's size already.
    func replay(_ image: Int, units: ComputeUnits) throws -> ImageReport {
        let results = try runner(units).results(for: golden(image))
        return test.compare(image: image, results: results)
    }

    func verdict(_ reports: [ImageReport]) -> SelfTestVerdict { test.verdict(reports) }

    // MARK: Benchmark

    /// A fresh copy of the compiled model, which is then the one in use.
    func startUp(_ units: ComputeUnits) throws -> StartUp {
        runners[units] = nil
        let pixels = try golden(goldenCount - 1)
        let (fresh, loadMs) = try timed { try runner(units) }
        return StartUp(loadMs: loadMs, firstMs: try timed { try fresh.results(for: pixels) }.ms)
    }

    /// Latencies in ms, from pixels to arrays: filling the buffer, Core ML, copying the results.
    func measure(_ count: Int, units: ComputeUnits) throws -> [Double] {
        let runner = try runner(units)
        let pixels = try golden(goldenCount - 1)
        return try (0..<count).map { _ in try timed { try runner.results(for: pixels) }.ms }
    }

    private func golden(_ image: Int) throws -> PixelImage {
        let file = folder.goldenFolder.appendingPathComponent(test.golden.inputs[image].file)
        return try PhotoDecoder.photo(from: Data(contentsOf: file))
    }

    private func runner(_ units: ComputeUnits) throws -> CoreMLRunner {
        if let made = runners[units] { return made }
        let made = try CoreMLRunner(compiled: compiled, units: units, manifest: folder.manifest)
        runners[units] = made
        return made
    }
}

private func timed<Value>(_ work: () throws -> Value) rethrows -> (value: Value, ms: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    let value = try work()
    let parts = start.duration(to: clock.now).components
    return (value, Double(parts.seconds) * 1e3 + Double(parts.attoseconds) / 1e15)
}

extension Problem {
    /// Any error in the app's own words.
    init(_ error: any Error) {
        self = error as? Problem ?? .runtimeRefused(error.localizedDescription)
    }
}
