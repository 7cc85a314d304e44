import Foundation

/// Replays the golden images and says whether the artifact gives here what it gave when built.
///
/// The manifest states what is asked of every output: every bit; or, of what a device may compute
/// otherwise, a ratio or a share of equal decisions over all images together. There is no rule of
/// the app's own.
public struct SelfTest: Sendable {
    public let record: SelfTestRecord
    public let golden: Golden
    private let expected: [Fingerprint]  // in the order of record.outputs

    public init(record: SelfTestRecord, golden: Golden) throws {
        guard golden.formatVersion == Golden.knownFormat else {
            throw Problem.notSupported("golden vectors of format \(golden.formatVersion)")
        }
        self.record = record
        self.golden = golden
        expected = try record.outputs.map { try golden.expected(record.reference, $0) }
        let images = golden.inputs.count
        guard images > 0, expected.allSatisfy({ $0.samples.count == images }) else {
            throw Problem.unreadable(file: "golden/expected.json", reason: "images without results")
        }
    }

    /// How one image's results compare.
    public func compare(image: Int, results: [String: Tensor]) -> ImageReport {
        let outputs = zip(record.outputs, expected).map { output, expected in
            OutputReport(output, expected, image: image, result: results[output.name])
        }
        return ImageReport(name: golden.inputs[image].name, outputs: outputs)
    }

    /// The verdict on all images; those that did not run fail it.
    public func verdict(_ reports: [ImageReport]) -> SelfTestVerdict {
        let complete = reports.count == golden.inputs.count
        let outputs = record.outputs.indices.map { place in
            OutputVerdict(record.outputs[place], reports.map { $0.outputs[place].difference })
        }
        return SelfTestVerdict(passed: complete && outputs.allSatisfy(\.passed), outputs: outputs)
    }
}

public struct ImageReport: Sendable, Equatable {
    public let name: String
    public let outputs: [OutputReport]

    /// By itself: what is asked of all images together may still hold where one fails it.
    public var passed: Bool { outputs.allSatisfy(\.passed) }

    /// One line per output.
    public var details: [String] { outputs.map { "\($0.name): \($0.detail)" } }
}

public struct SelfTestVerdict: Sendable, Equatable {
    public let passed: Bool
    public let outputs: [OutputVerdict]
}

/// One output on all images together.
public struct OutputVerdict: Sendable, Equatable {
    public let name: String
    public let passed: Bool
    public let detail: String

    init(_ record: OutputRecord, _ differences: [Difference]) {
        let whole = differences.reduce(Difference(), +)
        name = record.name
        passed = record.isReached(by: whole)
        detail = record.told(whole)
    }
}

/// One output of one image.
public struct OutputReport: Sendable, Equatable {
    public let name: String
    public let passed: Bool
    public let detail: String
    let difference: Difference

    init(_ record: OutputRecord, _ expected: Fingerprint, image: Int, result: Tensor?) {
        let found = Difference(record, expected, image: image, result: result)
        name = record.name
        difference = found
        passed = record.isReached(by: found)
        detail = [record.told(found), found.place].compactMap { $0 }.joined(separator: "; ")
    }
}

extension OutputRecord {
    func isReached(by found: Difference) -> Bool {
        if found.problem != nil { return false }
        if exact { return found.unequalImages == 0 }
        if let minAgreement { return found.agreement >= minAgreement }
        if let minSQNR { return found.sqnr >= minSQNR }
        return false  // a record that asks for nothing proves nothing
    }

    func told(_ found: Difference) -> String {
        if let problem = found.problem { return problem }
        if exact { return found.unequalImages == 0 ? "every bit equal" : "not equal" }
        if let minAgreement {
            return "\(percent(found.agreement)) agree, at least \(percent(minAgreement)) wanted"
        }
        let wanted = minSQNR.map { ", at least \(decibels($0)) wanted" } ?? ""
        return decibels(found.sqnr) + wanted
    }
}

private func percent(_ share: Double) -> String { String(format: "%.2f %%", share * 100) }

private func decibels(_ ratio: Double) -> String {
    if ratio == .infinity { return "equal" }
    return ratio == -.infinity ? "no likeness" : String(format: "%.1f dB", ratio)
}
