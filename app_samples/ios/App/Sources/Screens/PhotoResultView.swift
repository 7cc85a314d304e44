import MNV2Core
import SwiftUI

/// The photo with what was found on it, the same in words, and how long it took.
struct PhotoResultView: View {
    let data: Data?
    let result: PhotoResult

    var body: some View {
        Section {
            if let data, let photo = UIImage(data: data) {
                Image(uiImage: photo)
                    .resizable()
                    .scaledToFit()
                    .overlay { PhotoOverlay(result: result) }
                    .accessibilityLabel("The photo")
            }
        }
        Section("Result") { rows }
        Section("Time") {
            if result.prepareMs > 0 {
                LabeledContent("Resize and crop", value: milliseconds(result.prepareMs))
            }
            LabeledContent("Core ML", value: milliseconds(result.inferenceMs))
        }
    }

    @ViewBuilder private var rows: some View {
        switch result.prediction {
        case .classes(let classes):
            ForEach(classes) { found in
                ShareRow(label: found.label, share: found.probability, color: .accentColor)
            }
        case .objects(let objects):
            if objects.isEmpty {
                Text("Nothing is found on this photo.").foregroundStyle(.secondary)
            }
            ForEach(Array(objects.enumerated()), id: \.offset) { _, object in
                ShareRow(
                    label: object.label, share: Double(object.score),
                    color: .ofClass(object.index))
            }
        case .regions(_, let regions):
            ForEach(regions) { region in
                ShareRow(
                    label: region.label, share: region.share,
                    color: region.index == 0 ? .secondary : .ofClass(region.index))
            }
        }
    }
}

/// A label with a bar, one element for VoiceOver.
private struct ShareRow: View {
    let label: String
    let share: Double
    let color: Color

    var body: some View {
        VStack(alignment: .leading) {
            LabeledContent(label, value: share, format: .percent.precision(.fractionLength(1)))
            ProgressView(value: min(max(share, 0), 1))
                .tint(color)
                .accessibilityHidden(true)
        }
        .accessibilityElement(children: .combine)
    }
}

/// Boxes or the mask, in the photo's own pixels scaled to what is shown.
private struct PhotoOverlay: View {
    private static let maskOpacity: UInt8 = 150

    let result: PhotoResult

    var body: some View {
        GeometryReader { space in
            let scale = space.size.width / CGFloat(result.framing.width)
            switch result.prediction {
            case .classes:
                EmptyView()
            case .objects(let objects):
                ForEach(Array(objects.enumerated()), id: \.offset) { _, object in
                    BoxView(object: object, scale: scale)
                }
            case .regions(let map, _):
                if let mask = CGImage.make(
                    width: map.width, height: map.height,
                    bytes: Palette.rgba(map, opacity: Self.maskOpacity), hasOpacity: true)
                {
                    Image(decorative: mask, scale: 1)
                        .resizable()
                        .interpolation(.none)
                        .placed(at: result.framing.edges, scale: scale)
                }
            }
        }
    }
}

private struct BoxView: View {
    let object: FoundObject
    let scale: CGFloat

    var body: some View {
        Rectangle()
            .stroke(Color.ofClass(object.index), lineWidth: 3)
            .overlay(alignment: .topLeading) {
                Text(object.label)
                    .font(.caption)
                    .padding(.horizontal, 4)
                    .background(.regularMaterial)
                    .fixedSize()
            }
            .placed(at: object.box, scale: scale)
            .accessibilityHidden(true)  // the list below says the same
    }
}

extension View {
    fileprivate func placed(at edges: Framing.Edges, scale: CGFloat) -> some View {
        frame(width: edges.width * scale, height: edges.height * scale)
            .offset(x: edges.left * scale, y: edges.top * scale)
    }
}

extension Color {
    fileprivate static func ofClass(_ index: Int) -> Color {
        let color = Palette.color(index)
        return Color(
            red: Double(color.red) / 255, green: Double(color.green) / 255,
            blue: Double(color.blue) / 255)
    }
}

func milliseconds(_ value: Double) -> String {
    "\(value.formatted(.number.precision(.fractionLength(2)))) ms"
}
