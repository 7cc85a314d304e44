import MNV2Core
import SwiftUI

struct RootView: View {
    @Environment(Session.self) private var session

    var body: some View {
        switch session.stage {
        case .opening:
            ProgressView("Checking and compiling the model…")
        case .failed(let problem):
            ProblemView(problem: problem) { await session.open() }
        case .ready(let engine, let manifest):
            TabView {
                HomeView(engine: engine, manifest: manifest)
                    .tabItem { Label("Photo", systemImage: "photo") }
                SelfTestView(engine: engine, manifest: manifest)
                    .tabItem { Label("Self-test", systemImage: "checkmark.shield") }
                BenchmarkView(engine: engine)
                    .tabItem { Label("Benchmark", systemImage: "gauge.with.dots.needle.50percent") }
            }
        }
    }
}

/// What went wrong and the next step; with a retry where trying again can help.
struct ProblemView: View {
    let problem: Problem
    var retry: (@MainActor () async -> Void)?

    var body: some View {
        ContentUnavailableView {
            Label(problem.title, systemImage: "exclamationmark.triangle")
        } description: {
            Text(problem.advice)
        } actions: {
            if let retry {
                Button("Try again") { Task { await retry() } }
            }
        }
    }
}

/// Where Core ML may compute, for every screen.
struct UnitsPicker: View {
    @Environment(Session.self) private var session

    var body: some View {
        @Bindable var session = session
        Picker("Compute units", selection: $session.units) {
            ForEach(ComputeUnits.allCases) { Text($0.title).tag($0) }
        }
    }
}
