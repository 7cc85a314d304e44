import XCTest

@testable import MNV2Core

final class SelfTestTests: XCTestCase {
    private static let golden = """
        {"format_version": 1,
         "inputs": [{"name": "black", "file": "0.png"}, {"name": "white", "file": "1.png"}],
         "outputs": {"fp32": {
           "scores": {"dtype": "float32", "shape": [5], "stride": 2, "sha256": ["SCORES", "SCORES"],
                      "samples": [[1.0, 3.0, 5.0], [1.0, 3.0, 5.0]]},
           "labels": {"dtype": "uint8", "shape": [2, 2], "stride": 1,
                      "sha256": ["LABELS", "LABELS"],
                      "samples": [[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]]},
           "detections": {"dtype": "float32", "shape": [1, 6], "stride": 5, "sha256": ["", ""],
                      "samples": [[0.0, 1.0], [0.0, 1.0]]}}}}
        """
    private static let scores: [Float] = [1, 2, 3, 4, 5]

    private func test(_ output: OutputRecord) throws -> SelfTest {
        let scores = Tensor(shape: [5], values: Self.scores)
        let labels = Tensor(shape: [4], values: [0, 1, 2, 3])
        let text = Self.golden
            .replacingOccurrences(of: "SCORES", with: scores.sha256(dtype: "float32"))
            .replacingOccurrences(of: "LABELS", with: labels.sha256(dtype: "uint8"))
        let golden = try JSONDecoder().decode(Golden.self, from: Data(text.utf8))
        return try SelfTest(
            record: SelfTestRecord(reference: "fp32", outputs: [output]), golden: golden)
    }

    private func output(
        _ name: String, _ shape: [Int], dtype: String = "float32", exact: Bool = false,
        sqnr: Double? = nil, agreement: Double? = nil
    ) -> OutputRecord {
        OutputRecord(
            name: name, shape: shape, dtype: dtype, exact: exact, minSQNR: sqnr,
            minAgreement: agreement)
    }

    private func report(_ test: SelfTest, _ values: [Float], image: Int = 0) -> ImageReport {
        let output = test.record.outputs[0]
        let tensor = Tensor(shape: output.shape, values: values)
        return test.compare(image: image, results: [output.name: tensor])
    }

    func testExactResultsPassAndTheFirstDifferenceIsNamed() throws {
        let test = try test(output("scores", [5], exact: true))
        let same = report(test, Self.scores)
        let other = report(test, [1, 2, 3.5, 4, 6], image: 1)
        XCTAssertTrue(same.passed)
        XCTAssertEqual(same.details, ["scores: every bit equal"])
        XCTAssertFalse(other.passed)
        XCTAssertEqual(other.details, ["scores: not equal; first at 2: 3.5 instead of 3.0"])
        XCTAssertTrue(test.verdict([same, same]).passed)
        XCTAssertFalse(test.verdict([same, other]).passed)
    }

    func testADifferenceOutsideTheSampleIsFound() throws {
        let report = report(try test(output("scores", [5], exact: true)), [1, 2.5, 3, 4, 5])
        XCTAssertEqual(report.details, ["scores: not equal; differs outside the sample"])
    }

    func testZerosOfBothSignsAreDifferentBits() throws {
        let test = try test(output("labels", [2, 2], exact: true))
        XCTAssertFalse(report(test, [-0.0, 1, 2, 3]).passed)
    }

    func testExactLabelsAreBytes() throws {
        let test = try test(output("labels", [2, 2], dtype: "uint8", exact: true))
        XCTAssertTrue(report(test, [0, 1, 2, 3]).passed)
        XCTAssertFalse(report(test, [0, 1, 2, 4]).passed)
    }

    /// 10 log10((1 + 9 + 25) / (0.1 * 0.1)) = 35.44 dB for one image, 3.01 dB more for both.
    func testARatioIsOfAllImagesTogether() throws {
        let test = try test(output("scores", [5], sqnr: 38))
        let far = report(test, [1, 2, 3, 4, 5.1])
        let equal = report(test, Self.scores, image: 1)
        XCTAssertFalse(far.passed)
        XCTAssertEqual(
            far.details,
            ["scores: 35.4 dB, at least 38.0 dB wanted; largest at 4: 5.1 instead of 5.0"])
        XCTAssertEqual(equal.details, ["scores: equal, at least 38.0 dB wanted"])
        XCTAssertTrue(test.verdict([far, equal]).passed)
        XCTAssertFalse(test.verdict([far, far]).passed)
    }

    func testValuesThatAreNotFiniteFail() throws {
        let test = try test(output("scores", [5], sqnr: -100))
        for odd: Float in [.nan, .infinity] {
            XCTAssertFalse(report(test, [1, 2, odd, 4, 5]).passed)
        }
    }

    func testLabelsAreHeldToTheShareThatIsEqual() throws {
        let test = try test(output("labels", [2, 2], dtype: "uint8", agreement: 0.8))
        let off = report(test, [0, 1, 2, 0])
        let same = report(test, [0, 1, 2, 3], image: 1)
        XCTAssertFalse(off.passed)
        XCTAssertEqual(off.details, ["labels: 75.00 % agree, at least 80.00 % wanted"])
        XCTAssertTrue(test.verdict([off, same]).passed)
    }

    func testAPartOfDetectionsCannotBeMatched() throws {
        let test = try test(output("detections", [1, 6], agreement: 0.5))
        XCTAssertFalse(report(test, [0, 0, 1, 1, 0.5, 1]).passed)
    }

    func testImagesThatDidNotRunFailTheTest() throws {
        let test = try test(output("scores", [5], sqnr: 10))
        XCTAssertFalse(test.verdict([report(test, Self.scores)]).passed)
        XCTAssertFalse(test.verdict([]).passed)
    }

    func testAMissingOutputAndAnotherShapeFail() throws {
        let test = try test(output("scores", [5], sqnr: 10))
        XCTAssertFalse(test.compare(image: 0, results: [:]).passed)
        let longer = Tensor(shape: [6], values: Self.scores + [6])
        XCTAssertFalse(test.compare(image: 0, results: ["scores": longer]).passed)
    }

    func testARecordThatAsksForNothingProvesNothing() throws {
        XCTAssertFalse(report(try test(output("scores", [5])), Self.scores).passed)
    }

    func testAReferenceThatIsNotThereIsNamed() throws {
        XCTAssertThrowsError(try test(output("boxes", [5], sqnr: 10))) { error in
            XCTAssertEqual(
                error as? Problem,
                .unreadable(file: "golden/expected.json", reason: "no boxes of fp32"))
        }
    }
}
