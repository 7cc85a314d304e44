package io.github.mnv2.app

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.TextView
import io.github.mnv2.core.Manifest

/** Pick a photo and see what the model says of it. */
class MainActivity : Activity() {
    private val words by lazy { Words(resources) }
    private lateinit var model: TextView
    private lateinit var pick: Button
    private lateinit var picture: ImageView
    private lateinit var result: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        model = view(R.id.model)
        pick = view(R.id.pick)
        picture = view(R.id.picture)
        result = view(R.id.result)
        pick.setOnClickListener { pickPhoto() }
        view<Button>(R.id.self_test).setOnClickListener { show(SelfTestActivity::class.java) }
        view<Button>(R.id.benchmark).setOnClickListener { show(BenchmarkActivity::class.java) }
    }

    override fun onStart() {
        super.onStart()
        session.opening.observe(::showModel)
        session.looking.observe(::showLook)
    }

    override fun onStop() {
        session.opening.observe(null)
        session.looking.observe(null)
        super.onStop()
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val photo = data?.data
        if (requestCode == PICK && resultCode == RESULT_OK && photo != null) session.look(photo)
    }

    /** Both pickers hand over one photo and need no permission. */
    private fun pickPhoto() {
        val intent =
            if (Build.VERSION.SDK_INT >= PICKER_API) Intent(ACTION_PICK_IMAGES)
            else Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE)
        try {
            startActivityForResult(intent.setType("image/*"), PICK)
        } catch (_: ActivityNotFoundException) {
            result.setText(R.string.no_picker)
        }
    }

    private fun show(screen: Class<out Activity>) = startActivity(Intent(this, screen))

    private fun showModel(state: JobState<Manifest>) {
        pick.isEnabled = state is JobState.Done
        model.text = when (state) {
            is JobState.Done -> getString(
                R.string.model,
                state.value.task.name.lowercase(),
                state.value.artifact.precision,
                state.value.classes,
            )
            is JobState.Failed -> words.error(state.error)
            else -> getString(R.string.loading)
        }
    }

    private fun showLook(state: JobState<Look>) {
        if (state is JobState.Idle) return
        val look = (state as? JobState.Done)?.value
        picture.visibility = if (look == null) View.GONE else View.VISIBLE
        picture.setImageBitmap(look?.picture)
        result.text = when {
            look != null -> words.prediction(look.prediction, look.manifest)
            state is JobState.Failed -> words.error(state.error)
            else -> getString(R.string.looking)
        }
        picture.contentDescription = getString(R.string.photo_with, result.text)
    }

    private companion object {
        const val PICK = 1
        const val PICKER_API = 33
        const val ACTION_PICK_IMAGES = "android.provider.action.PICK_IMAGES" // MediaStore, API 33
    }
}
