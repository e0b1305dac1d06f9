<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="en" sourcelanguage="en">
<context>
    <name>Format</name>
    <message>
        <source>%1 bytes</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 ms</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 s</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 min %2 s</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&lt; %1 %</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&gt; %1 %</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 %</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>ImageLoader</name>
    <message>
        <source>%1 has %2 megapixels; the limit is %3. Save it smaller and try again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 does not exist (any more).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is not a file. Choose an image file.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is larger than %2 MB, the limit for an image file.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 cannot be opened: %2.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 cannot be read: %2.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is empty.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is not an image that this program can read. Try a PNG or JPEG file.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is a drawing, not a picture. Export it as PNG and try again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is incomplete: the file ends in the middle of the picture.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is damaged or incomplete (%2).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>There is no picture to read.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The picture</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>Options</name>
    <message>
        <source>--engine wants HOST:PORT, for example 192.0.2.7:7120, not &quot;%1&quot;.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>--trust wants a SHA-256 fingerprint: 64 hexadecimal digits.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>--trust belongs to an engine: give --engine too.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set); use pillarbox-cli in a terminal.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::AboutDialog</name>
    <message>
        <source>About Pillarbox</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Version %1 · Qt %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classifies an image on an engine that holds the model, by two-party computation: the engine does not see the image, and this program does not see the model&apos;s weights.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>This holds where both parties follow the protocol and whoever the trust line names is honest. A party that departs from the protocol on purpose is outside what this version protects against.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Diagnostics for a bug report</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Diagnostics</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Source: Apache License 2.0. This program links Qt Charts, so the program as a whole is distributed under the terms of the GNU General Public License, version 3.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Copy diagnostics</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy versions and platform to the clipboard</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>C&amp;lose</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::ClassifyPage</name>
    <message>
        <source>Classify</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Drop an image anywhere</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Open image…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose one or more image files to classify (Ctrl+O)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Paste</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classify the picture in the clipboard (Ctrl+V)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Connect to an engine…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Or try a sample:</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classify the sample “%1”</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Sample %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Connect…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Open the connection manager</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Try again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classify the same image again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose another image (Ctrl+O)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancel</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Stop (Esc)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Stop classifying and forget what is waiting (Esc)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Progress</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Insecure session: the engine could read this image.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Online</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Offline</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>From the image in hand to the class known</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Preparing the correlation set that this image used up</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Rounds</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Round trips finished, of those needed</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Elapsed</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Time of the online phase</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Sent</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bytes sent in the online phase</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Received</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bytes received in the online phase</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Recent</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Clear the list of recent results</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Recent results</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Enter shows a result again; no image is kept</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Names and results only; no image is kept.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancelled. Its correlation set is never used again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancelled before anything of the image was sent.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Not classified</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reading…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 · %2 × %3</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No picture</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>This cannot be classified</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancelled before anything was sent.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The class appears here.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Not connected. Starts by itself once an engine is connected.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connecting… starts by itself.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Waiting for your decision about the engine&apos;s certificate.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Preparing… %1 %, starts by itself</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Preparing… starts by itself</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Waiting for the engine… starts by itself when it is back.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The engine was refused. Nothing is sent.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Starting…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Reading %1…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Starting the first of %1 rounds</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Round %1 of %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>, about %1 s left</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classified in %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classified</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancelled</source>
        <translation type="unfinished"></translation>
    </message>
    <message numerus="yes">
        <source>%n more waiting</source>
        <translation>
            <numerusform>%n more waiting</numerusform>
            <numerusform>%n more waiting</numerusform>
        </translation>
    </message>
    <message>
        <source>No engine is connected yet. An image dropped now waits for one.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connecting. An image dropped now starts by itself.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Preparing the first correlation set. An image dropped now starts by itself.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The engine is away. An image dropped now starts when it is back.</source>
        <translation type="unfinished"></translation>
    </message>
    <message numerus="yes">
        <source>Ready. %1 recognises %n classes.</source>
        <translation>
            <numerusform>Ready. %1 recognises %n class.</numerusform>
            <numerusform>Ready. %1 recognises %n classes.</numerusform>
        </translation>
    </message>
    <message>
        <source>The engine&apos;s model</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paste with Ctrl+V, or open a file.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 This session is insecure: the engine could read the image.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 It is classified without leaving this computer in readable form.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 of %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 · %2 · %3 sent · %4 received</source>
        <translation type="unfinished"></translation>
    </message>
    <message numerus="yes">
        <source>%n rounds</source>
        <translation>
            <numerusform>%n round</numerusform>
            <numerusform>%n rounds</numerusform>
        </translation>
    </message>
    <message>
        <source>%1 · %2 sent · %3 received</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Class %1, probability %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 · %2
%3</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 · %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The picture was not kept.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::ConnectionManager</name>
    <message>
        <source>Engines</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connection manager</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>An engine holds the model and runs on another machine. Its certificate is pinned at the first contact and checked at every connection.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Name, address, whether it answers, pinned certificate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Name</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Address</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Answers</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Certificate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No answer</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pinned %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No engine yet.
Add the one you want to use.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Add…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Add an engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Edit…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Change name, host and port</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Remove…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Remove the selected engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Forget certificate…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Remove the pinned certificate; the next contact asks again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>C&amp;heck again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Ask again which engines answer</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Connect</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Close</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Asking…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Not pinned</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Yes, %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Edit the engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Remove the engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Remove “%1” from the list? Its pinned certificate stays known.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Remove</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Keep it</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Forget the certificate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Forget the pinned certificate of “%1”?</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Do this only if its operator told you that the certificate is a new one. The next connection shows the fingerprint and asks; compare it before you trust it.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Forget it</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The pin could not be removed. The log says why.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::CounterTile</name>
    <message>
        <source>%1: %2</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::DropOverlay</name>
    <message>
        <source>Drop to classify</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::EngineDialog</name>
    <message>
        <source>Hospital, second floor</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Name</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>engine.example.org or 192.0.2.7</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Host</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Port</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Name</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Host</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Port</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Save</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Cancel</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>That is not a host name or an address.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::FingerprintView</name>
    <message>
        <source>SHA-256 fingerprint %1</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::HelpDialog</name>
    <message>
        <source>Help</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How it works</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Your image stays here. It is split into two random-looking shares; the engine computes on its share with the model&apos;s weights, this program on the other, and only here do the two come together as the class.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Every image uses up one set of correlations, prepared before (offline). The line under the engine&apos;s name says who makes them and therefore who is trusted.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Keyboard</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Open images</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classify the picture in the clipboard</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Cancel</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Try again what failed</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Engines</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classify page</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Log page</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Preferences</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>This help</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Quit</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>C&amp;lose</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::ImageQueue</name>
    <message>
        <source>Pasted picture</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 images are waiting already; the others were left out.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::LatencyChart</name>
    <message>
        <source>Latency per round</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>A bar for every round appears here.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Latency per round · last %1 · mean %2</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::LogModel</name>
    <message>
        <source>Debug</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Warning</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Error</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Info</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Time</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Level</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Message</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::LogPage</name>
    <message>
        <source>Log</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Show</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Everything</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Info and above</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Warnings and errors</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Errors</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Least level shown</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Filter by text</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Copy</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy the selected lines, or all that are shown</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>C&amp;lear</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Remove all lines</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Log lines</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 of %2 lines shown; the newest %3 are kept</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::MainWindow</name>
    <message>
        <source>Images (%1)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classify</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Classify images (Ctrl+1)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Log</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>What happened (Ctrl+2)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Preparing a correlation set</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Correlation sets: each image uses up one. They are prepared ahead in the background.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Engines…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Choose, add and check engines (Ctrl+E)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;File</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Open image…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Paste picture</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Cancel classifying</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Try again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Sample images</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Recent results</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pre&amp;ferences…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Quit</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connect &amp;again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Disconnect</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;View</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Classify</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Log</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Help</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How it works, &amp;keyboard</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;About Pillarbox</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Status</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connection</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Fingerprint of the engine&apos;s certificate, checked at every connection</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Round trips of the last classification</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bytes sent and received by the last classification, online phase</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Round-trip time of the connection</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No pin</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Rounds –</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Sent – · Received –</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Latency –</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 presents a certificate that is not the pinned one and was refused. Nothing was sent.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Compare…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Round %1 of %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Sent %1 · Received %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Rounds %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 is away and is tried again by itself. %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The engine was refused.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connected to %1 again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 of %2 sets ready</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source> · preparing %1 %</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>No engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Insecure: %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1: %2</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pin %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Latency %1</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Not connected: nothing leaves this computer.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Who is trusted is shown here as soon as the engine has answered.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Nothing yet</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Clear the list</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Open images</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>All files (*)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>There is no picture in the clipboard. Copy one and paste again.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>That is a link, and this program opens no web addresses. Save the picture, then drop the file.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::MessageBar</name>
    <message>
        <source>Next step</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Close this message</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::MismatchDialog</name>
    <message>
        <source>Changed certificate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The engine&apos;s certificate has changed</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>The certificate has changed; the engine was refused</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>%1 presents another certificate than the one that is pinned. Somebody may be in between, or its operator has made a new one. Nothing was sent.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Pinned (old)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Presented now (new)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Bytes that differ are bold and underlined.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>If you do not expect a change, do not go on; ask the operator. If you do, compare the new fingerprint with the operator&apos;s, then remove the old pin in the connection manager: select the engine, “Forget certificate…”, and connect again. It is then a first contact.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Close</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Open connection &amp;manager…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Accepts nothing; the pin can be removed there</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::NavigationRail</name>
    <message>
        <source>Pages</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::PictureView</name>
    <message>
        <source>Picture %1</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::PreferencesDialog</name>
    <message>
        <source>Not connected</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connecting…</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>First contact</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connected, preparing</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connected, ready</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Connected, classifying</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Away, trying again</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Refused</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Preferences</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>As the system</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Light</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Dark</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Appearance</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Appearance</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Correlation sets to keep ready</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>How many images can be classified at once without preparing first</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Sets to keep ready</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Each image uses up one set of correlations, prepared in the background ahead of time. More sets take more memory and traffic.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Remember recent results after closing</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Stores names of images and their classes, no images</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Names of images and their results only. No image is ever stored.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Settings file</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Copy</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy the path of the settings file</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Settings &amp;file</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>C&amp;lose</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::ScoreBars</name>
    <message>
        <source>Probability of %1</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::TrustDialog</name>
    <message>
        <source>First contact</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>First contact with an engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Is this the engine you mean?</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>You have not connected to %1 before, and nothing has been sent to it yet. Ask its operator for the certificate&apos;s fingerprint and compare; they see it with “pillarbox-engine fingerprint”.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>SHA-256 fingerprint of the engine&apos;s certificate</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>C&amp;opy</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Copy the fingerprint</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Paste the operator&apos;s fingerprint to co&amp;mpare (optional)</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Fingerprint to compare with</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Do not connect</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>&amp;Trust this engine</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>Remember this certificate and refuse any other one from this address</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>That is not a whole SHA-256 fingerprint (64 hexadecimal digits).</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>✓ They are the same.</source>
        <translation type="unfinished"></translation>
    </message>
    <message>
        <source>✗ They differ. This is not the engine that the operator speaks of.</source>
        <translation type="unfinished"></translation>
    </message>
</context>
<context>
    <name>pillarbox::ui::TrustLine</name>
    <message>
        <source>Who is trusted: %1</source>
        <translation type="unfinished"></translation>
    </message>
</context>
</TS>
