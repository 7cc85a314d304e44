import MNV2Core
import SwiftUI

struct SelfTestView: View {
    let engine: Engine
    let manifest: Manifest

    @Environment(Session.self) private var session
    @State private var model = SelfTestModel()
    @State private var running: Task<Void, Never>?

    var body: some View {
        NavigationStack {
            List {
                Section {
                    UnitsPicker().disabled(model.isRunning)
                    Button(model.isRunning ? "Stop" : "Replay the golden images") { startOrStop() }
                } footer: {
                    Text("Reference: \(manifest.artifact.selfTest.reference), as built.")
                }
                if let problem = model.problem { ProblemView(problem: problem) }
                if let verdict = model.verdict, let units = model.units {
                    VerdictSection(verdict: verdict, units: units)
                }
                if !model.reports.isEmpty {
                    Section("Images") {
                        ForEach(model.reports, id: \.name) { ReportRow(report: $0) }
                    }
                }
            }
            .navigationTitle("Self-test")
        }
    }

    private func startOrStop() {
        if model.isRunning {
            running?.cancel()
        } else {
            running = Task { await model.run(engine, units: session.units) }
        }
    }
}

private struct VerdictSection: View {
    let verdict: SelfTestVerdict
    let units: ComputeUnits  // the picker may show others by now

    var body: some View {
        Section("All images together, on \(units.title)") {
            StatusLabel(text: verdict.passed ? "Passed" : "Failed", passed: verdict.passed)
                .font(.headline)
            ForEach(verdict.outputs, id: \.name) { output in
                LabeledContent(output.name) { Text(output.detail) }
            }
        }
    }
}

private struct ReportRow: View {
    let report: ImageReport

    var body: some View {
        VStack(alignment: .leading) {
            StatusLabel(text: report.name, passed: report.passed)
            ForEach(report.details, id: \.self) { line in
                Text(line).font(.footnote).foregroundStyle(.secondary)
            }
        }
        .accessibilityElement(children: .combine)
    }
}

/// Passed or not in shape, color and words.
private struct StatusLabel: View {
    let text: String
    let passed: Bool

    var body: some View {
        Label {
            Text(text)
        } icon: {
            Image(systemName: passed ? "checkmark.circle.fill" : "xmark.octagon.fill")
                .foregroundStyle(passed ? .green : .red)
                .accessibilityLabel(passed ? "passed" : "failed")
        }
    }
}
