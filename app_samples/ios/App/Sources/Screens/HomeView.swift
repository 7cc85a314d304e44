import MNV2Core
import PhotosUI
import SwiftUI

struct HomeView: View {
    let engine: Engine
    let manifest: Manifest

    @Environment(Session.self) private var session
    @State private var model = PhotoModel()
    @State private var item: PhotosPickerItem?
    @State private var path = ResizePath.exact

    var body: some View {
        NavigationStack {
            List {
                Section {
                    // The picker runs outside the app, so it needs no permission. `current` gives
                    // the file as it is; a compatible copy is encoded anew, with other pixels.
                    PhotosPicker(
                        selection: $item, matching: .images, preferredItemEncoding: .current
                    ) {
                        Label("Choose a photo", systemImage: "photo.on.rectangle")
                    }
                    Picker("Resize", selection: $path) {
                        ForEach(ResizePath.allCases) { Text($0.title).tag($0) }
                    }
                    UnitsPicker()
                } footer: {
                    Text("Vision’s own resize gives slightly different pixels, and results.")
                }
                result
            }
            .navigationTitle(manifest.spec.task.rawValue.capitalized)
        }
        .onChange(of: item) { load() }
        .onChange(of: path) { predict() }
        .onChange(of: session.units) { predict() }
    }

    @ViewBuilder private var result: some View {
        switch model.stage {
        case .empty:
            Text("Nothing chosen yet.").foregroundStyle(.secondary)
        case .working:
            ProgressView("Looking at the photo…")
        case .failed(let problem):
            ProblemView(problem: problem)
        case .shown(let found):
            PhotoResultView(data: model.data, result: found)
        }
    }

    private func load() {
        guard let item else { return }
        model.expectPhoto()
        Task {
            let data = try? await item.loadTransferable(type: Data.self)
            guard item == self.item else { return }  // another one was chosen meanwhile
            model.choose(data)
            await model.predict(with: engine, units: session.units, path: path)
        }
    }

    private func predict() {
        Task { await model.predict(with: engine, units: session.units, path: path) }
    }
}
