import XCTest

@testable import MNV2Core

/// Whole models: the folder that an app gets, and results that the reference evaluator gave.
final class ModelTests: XCTestCase {
    func testEveryModelIsOpenedReadAndPassesItsSelfTest() throws {
        for recording in try Recording.all() {
            let folder = try recording.open()
            let test = try SelfTest(
                record: folder.manifest.artifact.selfTest, golden: folder.golden())
            let results = try recording.goldenResults()
            let reports = results.indices.map { test.compare(image: $0, results: results[$0]) }
            let verdict = test.verdict(reports)
            XCTAssertTrue(verdict.passed, "\(recording.name): \(verdict.outputs)")
            for (place, output) in test.record.outputs.enumerated() {
                let whole = reports.map { $0.outputs[place].difference }.reduce(Difference(), +)
                let found = output.minAgreement == nil ? whole.sqnr : whole.agreement
                let expected = try XCTUnwrap(recording.data.figures[output.name])
                XCTAssertEqual(found, expected, accuracy: 1e-9, "\(recording.name) \(output.name)")
            }
        }
    }

    func testPhotosArePredictedAsTheExporterPredictsThem() throws {
        for recording in try Recording.all() {
            let manifest = try recording.open().manifest
            let photo = try recording.files.picture("photo.ppm")
            let seen = try Preprocessor(contract: manifest.spec.preprocess).pixels(of: photo)
            XCTAssertEqual(seen.bytes, try recording.files.bytes(recording.data.photo.seen))
            let framing = Framing(
                width: photo.width, height: photo.height, contract: manifest.spec.preprocess)
            let prediction = try Predictor(manifest: manifest).prediction(
                from: recording.photoResults(), framing: framing)
            let expected = recording.data.photo.prediction
            XCTAssertFalse(expected.isEmpty, recording.name)
            XCTAssertEqual(prediction.labels, expected.map(\.label), recording.name)
            for (found, row) in zip(prediction.numbers, expected) {
                assertEqual(found, row.numbers, accuracy: 1e-9, recording.name)
            }
        }
    }

    func testAnOutputThatIsMissingOrOfAnotherShapeIsNamed() throws {
        let recording = try Recording.named("detection")
        let predictor = Predictor(manifest: try recording.open().manifest)
        let framing = Framing(
            width: 10, height: 10, contract: predictor.manifest.spec.preprocess)
        var results = try recording.photoResults()
        results["boxes"] = Tensor(shape: [1, 4], values: [0, 0, 1, 1])
        XCTAssertThrowsError(try predictor.prediction(from: results, framing: framing)) {
            XCTAssertEqual(
                $0 as? Problem,
                .unexpectedResult("boxes have the shape [1, 4], not [420, 4]"))
        }
        results["boxes"] = nil
        XCTAssertThrowsError(try predictor.prediction(from: results, framing: framing)) {
            XCTAssertEqual(
                $0 as? Problem, .unexpectedResult("no output boxes among scores"))
        }
    }
}

/// What `make_fixtures.py` wrote of one app.
struct Recording {
    struct Data: Decodable {
        let manifestSHA256: String
        let artifact: String
        let artifactSHA256: String
        let outputs: [String: Values]
        let figures: [String: Double]
        let photo: Photo

        enum CodingKeys: String, CodingKey {
            case manifestSHA256 = "manifest_sha256"
            case artifact
            case artifactSHA256 = "artifact_sha256"
            case outputs, figures, photo
        }
    }

    struct Values: Decodable {
        let file: String
        let shape: [Int]
        let images: Int
    }

    struct Photo: Decodable {
        let seen: String
        let outputs: [String: Values]
        let prediction: [Row]
    }

    /// A label and its numbers, in one JSON array.
    struct Row: Decodable {
        let label: String
        let numbers: [Double]

        init(from decoder: any Decoder) throws {
            var row = try decoder.unkeyedContainer()
            label = try row.decode(String.self)
            var found: [Double] = []
            while !row.isAtEnd { found.append(try row.decode(Double.self)) }
            numbers = found
        }
    }

    let name: String
    let files: Fixtures
    let data: Data

    static func all() throws -> [Recording] {
        let models = try Fixtures.open("models").folder
        let names = try FileManager.default.contentsOfDirectory(atPath: models.path).sorted()
        XCTAssertFalse(names.isEmpty)
        return try names.map(named)
    }

    static func named(_ name: String) throws -> Recording {
        let files = try Fixtures.open("models/\(name)")
        return Recording(name: name, files: files, data: try files.json("recording"))
    }

    var pins: Pins {
        Pins(
            manifestSHA256: data.manifestSHA256, artifact: data.artifact,
            artifactSHA256: data.artifactSHA256)
    }

    func open() throws -> ModelFolder { try ModelFolder.open(files.url("model"), pins: pins) }

    /// Per golden image.
    func goldenResults() throws -> [[String: Tensor]] { try results(data.outputs) }

    func photoResults() throws -> [String: Tensor] { try results(data.photo.outputs)[0] }

    private func results(_ outputs: [String: Values]) throws -> [[String: Tensor]] {
        var found: [[String: Tensor]] = []
        for (name, values) in outputs {
            let all = try files.floats(values.file)
            let size = all.count / values.images
            while found.count < values.images { found.append([:]) }
            for image in 0..<values.images {
                let part = Array(all[(image * size)..<((image + 1) * size)])
                found[image][name] = Tensor(shape: values.shape, values: part)
            }
        }
        return found
    }
}

extension Prediction {
    var labels: [String] {
        switch self {
        case .classes(let classes): classes.map(\.label)
        case .objects(let objects): objects.map(\.label)
        case .regions(_, let regions): regions.map(\.label)
        }
    }

    var numbers: [[Double]] {
        switch self {
        case .classes(let classes): classes.map { [$0.probability] }
        case .objects(let objects): objects.map { [Double($0.score)] + $0.box.list }
        case .regions(_, let regions): regions.map { [$0.share] }
        }
    }
}
